"""The `pictures` dataset: pictures with classes, imported from LEAF's JSON (FEMNIST, and MNIST as others cut it).

A user is a site, or users are dealt over sites; a user's pictures stay together. Held out is what LEAF put into its
folder test/, or a share of each user's pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.data import partition
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.folder_rows import FolderRows
from fljob_runtime.data.leaf_files import read_leaf
from fljob_runtime.data.store import SiteManifest, SiteTables, make_sites, read_manifest
from fljob_runtime.data.tabular import plain_name
from fljob_runtime.registry import NoParameters, RegistryKind, register

PARTITIONS = ("user", "equal")
_MAX_SITES = 128


@register(RegistryKind.DATASET, "pictures", NoParameters)
class Pictures(FolderRows):
    """One site's pictures and their classes."""

    NAME: ClassVar[str] = "pictures"


@dataclass(frozen=True)
class LeafImport:
    """How to spread users. classes: how many there are, 0: as many as the labels tell. test_share: of each user's."""

    partition: str = "equal"
    num_sites: int = 10
    test_share: float = 0.1
    classes: int = 0
    seed: int = 0


@dataclass(frozen=True)
class _Part:
    """Pictures of one user, of training or held out. x: [N, ...], y: [N]."""

    user: int
    x: NDArray[np.float32]
    y: NDArray[np.int64]


@dataclass(frozen=True)
class _Source:
    """All users' pictures. Users are numbered as they come; split: whether the source says what is held out."""

    path: Path
    users: tuple[str, ...]
    train: tuple[_Part, ...]
    test: tuple[_Part, ...]
    split: bool

    @property
    def parts(self) -> tuple[_Part, ...]:
        return (*self.train, *self.test)


def import_leaf(
    source: Path, out: Path, how: LeafImport, *, on_progress: Callable[[str], None] = lambda _: None
) -> dict[str, SiteManifest]:
    """Write one folder per site under `out`; the same call again changes nothing. Raises DataError.

    source: a folder of .json files, or one with folders train and test of such.
    """
    if how.partition not in PARTITIONS:
        raise DataError("--partition", f"no partition {how.partition!r}; there are {', '.join(PARTITIONS)}")
    if not 0.0 < how.test_share < 1.0:
        raise DataError("--test-share", f"{how.test_share} is not between 0 and 1")
    data = _read(source, how, on_progress)
    classes = _classes(data, how)
    names, sites = _spread(data, how)
    _refuse_empty(names, sites, data)

    def make(name: str) -> tuple[SiteManifest, SiteTables]:
        on_progress(name)
        return _site(name, np.flatnonzero(sites == names.index(name)), data, classes)

    make_sites(out, names, make, most=1)  # pictures are large
    return {name: read_manifest(out / name) for name in names}


def _read(source: Path, how: LeafImport, on_progress: Callable[[str], None]) -> _Source:
    split = (source / "train").is_dir() and (source / "test").is_dir()
    numbers: dict[str, int] = {}
    shape: tuple[int, ...] = ()
    found: dict[str, list[_Part]] = {"train": [], "test": []}
    for part in ("train", "test") if split else ("train",):
        for user in read_leaf(source / part if split else source):
            on_progress(user.name)
            if not len(user.y):
                continue
            shape = shape or user.x.shape[1:]
            if user.x.shape[1:] != shape:
                problem = f"user {user.name!r}: pictures of shape {user.x.shape[1:]}; the first user's are {shape}"
                raise DataError(user.path, problem)
            number = numbers.setdefault(user.name, len(numbers))
            found[part].append(_Part(number, user.x, user.y))
    train, test = found["train"], found["test"]
    if not split:
        train, test = _held_out(train, how)
    return _Source(source, tuple(numbers), tuple(train), tuple(test), split)


def _held_out(parts: list[_Part], how: LeafImport) -> tuple[list[_Part], list[_Part]]:
    """Take a share of each user's pictures, rounded; the same whichever other users there are."""
    train: list[_Part] = []
    test: list[_Part] = []
    for part in parts:
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([how.seed, 1, len(part.y)])))
        order = rng.permutation(len(part.y))
        cut = round(how.test_share * len(part.y))
        for kept, which in ((test, np.sort(order[:cut])), (train, np.sort(order[cut:]))):
            kept.append(_Part(part.user, part.x[which], part.y[which]))
    return train, test


def _classes(data: _Source, how: LeafImport) -> int:
    highest = max((int(part.y.max()) for part in data.parts if len(part.y)), default=-1)
    if highest < 0:
        raise DataError(data.path, "no user has a picture")
    if 0 < how.classes <= highest:
        raise DataError("--classes", f"{how.classes} classes, but a label is {highest}")
    return how.classes or max(highest + 1, 2)


def _spread(data: _Source, how: LeafImport) -> tuple[list[str], NDArray[np.int64]]:
    """Return the sites' names, and the site of each user as an index into them: int64 [U]."""
    if how.partition == "user":
        names = [f"site-{plain_name(user)}" for user in data.users]
        if len(names) > _MAX_SITES:
            problem = f"{len(names)} users; a job has {_MAX_SITES} trainers at most: take --partition equal"
            raise DataError(data.path, problem)
        clash = next((n for n in names if names.count(n) > 1 or n == "site-" or len(n) > 63), None)
        if clash:
            problem = f"users whose names make no site's name of their own ({clash!r}): take --partition equal"
            raise DataError(data.path, problem)
        return names, np.arange(len(names))
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([how.seed, 0])))
    try:
        sites = partition.equal(len(data.users), how.num_sites, rng)
    except ValueError as error:
        raise DataError(data.path, str(error)) from error
    return [f"site-{index}" for index in range(how.num_sites)], sites


def _refuse_empty(names: list[str], sites: NDArray[np.int64], data: _Source) -> None:
    """Refuse sites that would have nothing to train on or nothing held out, before any is made."""
    for kind, parts in (("train", data.train), ("held out", data.test)):
        counts = np.zeros(len(names), np.int64)
        for part in parts:
            counts[sites[part.user]] += len(part.y)
        if not counts.all():
            problem = f"{names[int(counts.argmin())]} would have no picture {kind}"
            raise DataError(data.path, f"{problem}: take fewer sites, or another --test-share")


def _site(name: str, members: NDArray[np.int64], data: _Source, classes: int) -> tuple[SiteManifest, SiteTables]:
    mine = set(members.tolist())
    train, test = (_columns([p for p in parts if p.user in mine]) for parts in (data.train, data.test))
    num_test = len(test["label"])
    manifest = SiteManifest(
        dataset="pictures",
        site=name,
        ids={"user": len(data.users)},
        num_site_ids={"user": len(mine)},
        num_train=len(train["label"]),
        num_samples=len(train["label"]),
        num_test=num_test,
        negatives_per_positive=0,
        best_auc=None,
        notes="held out as LEAF's folder test says" if data.split else "held out: a share of each user's pictures",
        digests={},
        features=("picture",),
        shapes={"picture": train["picture"].shape[1:]},
        num_classes=classes,
    )
    return manifest, SiteTables(train, {**test, "group": np.full(num_test, -1, np.int64)})


def _columns(parts: list[_Part]) -> dict[str, NDArray]:  # type: ignore[type-arg]  # ids and numbers
    users = np.repeat([part.user for part in parts], [len(part.y) for part in parts]).astype(np.int64)
    pictures = np.concatenate([part.x for part in parts])
    return {"user": users, "picture": pictures, "label": np.concatenate([p.y for p in parts]).astype(np.float32)}
