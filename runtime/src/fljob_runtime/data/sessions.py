"""The `sessions` dataset: who looked at what, one after another; a model says what comes next (RecSys Challenge 2015).

The import reads published sessions, prepares them as Hidasi et al. did (2016, https://arxiv.org/abs/1511.06939), and
spreads them over sites. Equal input gives equal folders.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.data import partition
from fljob_runtime.data.datasets import OpenRequest
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.examples import Examples, HeldOut, Ids, LabelledRows
from fljob_runtime.data.session_files import Sessions, read_sessions, stretches
from fljob_runtime.data.store import SiteManifest, SiteTables, read_manifest, read_tables, write_sites
from fljob_runtime.registry import NoParameters, RegistryKind, register
from fljob_runtime.schema import PADDING

COLUMN = "items"
PARTITIONS = ("equal", "day", "quantity")
DAY_S = 86_400.0
_MIN_COUNT = 5  # events of an item, in the usual preparation
_TEST_SHARE = 10  # where there are no times: the last 1/10


@register(RegistryKind.DATASET, "sessions", NoParameters)
class SessionData(LabelledRows):
    """One site's sessions."""

    needs_folder: ClassVar[bool] = True

    def __init__(self, parameters: NoParameters, request: OpenRequest) -> None:  # noqa: ARG002 - one signature for all
        folder = request.folder_for("sessions")
        manifest = read_manifest(folder)
        if COLUMN not in manifest.sequences:
            raise DataError(folder, f"holds dataset {manifest.dataset!r}, which has no sessions")
        tables = read_tables(folder, manifest)
        self.schema = manifest.schema
        self._train, self._held_out = unlabelled(tables.train[COLUMN]), HeldOut(unlabelled(tables.test[COLUMN]))


def unlabelled(sessions: Ids) -> Examples:
    """Return sessions [N, longest] as examples."""
    return Examples({COLUMN: sessions}, np.zeros(len(sessions), np.float32))


@dataclass(frozen=True)
class SessionImport:
    """How sessions are prepared and spread.

    test: a file of test sessions; else they are those that end in the last day, or the last 1/10 where no times are
    known. cut: "first-1/N", of all sessions; "last-1/N", of those for training; "" for all. min_count: items with
    fewer events are dropped; 0: 5 where the last day is split off, else 1. longest: sessions with more items become
    several, each beginning with the last item of the one before, so that no next item is lost.
    """

    test: Path | None = None
    cut: str = ""
    min_count: int = 0
    longest: int = 20
    partition: str = "equal"
    num_sites: int = 4
    alpha: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class _Prepared:
    """Sessions whose items are numbered from 0 by their first appearance in training."""

    train: Sessions
    test: Sessions
    num_items: int
    notes: str


def import_sessions(
    source: Path, out: Path, how: SessionImport, *, on_progress: Callable[[str], None] = lambda _: None
) -> dict[str, SiteManifest]:
    """Write one folder per site under `out`; the same call again changes nothing. Raises DataError."""
    _check(how)
    on_progress("reading")
    read, test = read_sessions(source), read_sessions(how.test) if how.test else None
    on_progress("preparing")
    data = _prepared(source, read, test, how)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([how.seed, 0])))
    sites = _spread(source, data.train, how, rng)
    tested = _dealt(source, lambda: partition.equal(len(data.test), how.num_sites, rng))
    made = {}
    for index in range(how.num_sites):
        on_progress(f"site-{index}")
        parts = data.train.take(sites == index), data.test.take(tested == index)
        made[f"site-{index}"] = _site(f"site-{index}", parts, data, how)
    write_sites(out, made)
    return {name: read_manifest(out / name) for name in made}


def _check(how: SessionImport) -> None:
    if how.partition not in PARTITIONS:
        raise DataError("--partition", f"no partition {how.partition!r}; there are {', '.join(PARTITIONS)}")
    if how.cut and not re.fullmatch(r"(first|last)-1/[1-9]\d{0,5}", how.cut):
        raise DataError("--cut", f"{how.cut!r} is neither first-1/N nor last-1/N")
    if how.longest < 2:
        raise DataError("--longest", f"{how.longest}: a session has at least 2 items, or nothing comes next")


def _prepared(source: Path, read: Sessions, test: Sessions | None, how: SessionImport) -> _Prepared:
    min_count = how.min_count or (_MIN_COUNT if test is None and read.ends is not None else 1)
    end, _, parts = how.cut.partition("-1/")
    fraction = int(parts or 1)
    read = read.take(slice(0, -(-len(read) // fraction))) if end == "first" else read
    kept = _frequent(read.without(np.zeros(len(read.items), np.bool_)), min_count)
    train, held_out = (kept, test) if test is not None else _split(kept)
    if end == "last":
        train = train.take(slice(len(train) - -(-len(train) // fraction), None))
    train, held_out, num_items = _numbered(train, held_out)
    if len(train) == 0 or len(held_out) == 0:
        problem = f"{len(train)} training and {len(held_out)} test sessions are left of {len(read)}"
        raise DataError(source, f"{problem}: take a greater --cut, a smaller --min-count, or give --test")
    return _Prepared(train, held_out, num_items, _notes(train, held_out, num_items, min_count, how))


def _frequent(sessions: Sessions, min_count: int) -> Sessions:
    """Drop rare items, and then sessions with less than two items."""
    _, places, counts = np.unique(sessions.items, return_inverse=True, return_counts=True)
    return sessions.without(counts[places] < min_count)


def _split(sessions: Sessions) -> tuple[Sessions, Sessions]:
    """Split off the sessions that end in the last day, or the last tenth where no times are known."""
    if sessions.ends is None or len(sessions) == 0:
        last = np.arange(len(sessions)) >= len(sessions) - -(-len(sessions) // _TEST_SHARE)
    else:
        last = sessions.ends >= sessions.ends.max() - DAY_S
    return sessions.take(~last), sessions.take(last)


def _numbered(train: Sessions, test: Sessions) -> tuple[Sessions, Sessions, int]:
    """Number items by their first appearance in training, drop others from the test; and return how many there are."""
    known, first, places = np.unique(train.items, return_index=True, return_inverse=True)
    numbers = np.empty(len(known), np.int64)
    numbers[np.argsort(first)] = np.arange(len(known))
    seen = np.isin(test.items, known)
    test = test.without(~seen)
    tested = numbers[np.searchsorted(known, test.items)]
    return replace(train, items=numbers[places.reshape(-1)]), replace(test, items=tested), len(known)


def _notes(train: Sessions, test: Sessions, num_items: int, min_count: int, how: SessionImport) -> str:
    split = "given" if how.test else "the last tenth" if train.ends is None else "sessions that end in the last day"
    long = int((train.lengths > how.longest).sum() + (test.lengths > how.longest).sum())
    return (
        f"cut {how.cut or 'none'}; items with {min_count} events or more; test: {split}, without items unseen in "
        f"training; all sites: {len(train):,} sessions with {len(train.items):,} clicks on {num_items:,} items, test "
        f"{len(test):,} with {len(test.items):,}; {long:,} of more than {how.longest} items are in pieces that "
        f"overlap by one; partition {how.partition}, seed {how.seed}"
    )


def _spread(source: Path, train: Sessions, how: SessionImport, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the site of each training session: int64 [S]."""
    if how.partition == "day":
        return _by_day(source, train, how.num_sites)
    if how.partition == "equal":
        return _dealt(source, lambda: partition.equal(len(train), how.num_sites, rng))
    return _dealt(source, lambda: partition.quantity_skewed(len(train), how.num_sites, how.alpha, rng))


def _by_day(source: Path, train: Sessions, num_sites: int) -> NDArray[np.int64]:
    """Give each site as many days as the others, in their order."""
    if train.ends is None:
        raise DataError("--partition day", f"{source} tells no times")
    days, places = np.unique(np.floor_divide(train.ends, DAY_S), return_inverse=True)
    if len(days) < num_sites:
        raise DataError("--sites", f"{len(days)} days cannot be spread over {num_sites} sites: take fewer sites")
    sites: NDArray[np.int64] = (np.arange(len(days)) * num_sites // len(days))[places.reshape(-1)]
    return sites


def _dealt(source: Path, deal: Callable[[], NDArray[np.int64]]) -> NDArray[np.int64]:
    try:
        return deal()
    except ValueError as error:
        raise DataError(source, str(error)) from error


def _site(
    name: str, parts: tuple[Sessions, Sessions], data: _Prepared, how: SessionImport
) -> tuple[SiteManifest, SiteTables]:
    train, test = (padded(part, how.longest) for part in parts)
    manifest = SiteManifest(
        dataset="sessions",
        site=name,
        ids={},
        num_site_ids={COLUMN: len(np.unique(parts[0].items))},
        num_train=len(train),
        num_samples=len(train),
        num_test=len(test),
        negatives_per_positive=0,
        best_auc=None,
        notes=data.notes,
        digests={},
        sequences={COLUMN: (data.num_items, how.longest)},
        num_classes=0,
    )
    return manifest, SiteTables({COLUMN: train}, {COLUMN: test})


def padded(sessions: Sessions, longest: int) -> Ids:
    """Return sessions [R, longest], padded behind; longer ones in rows that begin with the last item of the one before.

    So each item but a session's first is the next one of exactly one row.
    """
    step = longest - 1
    num_rows = np.maximum(1, -(-(sessions.lengths - 1) // step))  # of each session
    owners = np.arange(len(sessions)).repeat(num_rows)
    nth = np.arange(len(owners)) - np.concatenate([[0], np.cumsum(num_rows)[:-1]]).astype(np.int64)[owners]
    starts = sessions.starts[:-1][owners] + nth * step
    lengths = np.minimum(sessions.starts[1:][owners] - starts, longest)
    rows = np.full((len(owners), longest), PADDING, np.int64)
    rows[np.arange(longest) < lengths[:, None]] = sessions.items[stretches(starts, lengths)]
    return rows
