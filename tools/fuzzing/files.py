"""What is read from volumes: checkpoints, the coordinator's journal, trainers' private state, sites' manifests.

Files are written anew for every input, below a folder that is best in memory; nothing here waits for a disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np

from fljob_api.exit_codes import ExitCode
from fljob_runtime import messages as m
from fljob_runtime.checkpoints.manifest import Manifest, complete_versions, read_manifest, write_manifest
from fljob_runtime.checkpoints.rebalance import Wanted, load_part
from fljob_runtime.checkpoints.remote import Remote
from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.store import MANIFEST, SiteManifest
from fljob_runtime.data.store import read_manifest as read_site
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import Kind, ModelState, RowSet
from fljob_runtime.roles.journal import Journal, JournalError
from fljob_runtime.roles.journal_log import FileLog, SegmentLog
from fljob_runtime.roles.private_state import PrivateStore, merge_rows
from fljob_runtime.rounds.values import (
    CohortChosen,
    Finished,
    ListAccepted,
    Rewound,
    RoundCommitted,
    RoundDurable,
    RoundEvaluated,
    TrainerFailed,
    TrainerMended,
)
from fuzzing.model import DIM, LAYOUT, SHARDS, UID, commit, make_shard, words
from fuzzing.target import PassedOverError, Target, join, plain, split

_FULL = 2  # the first version that is written: a full file


def targets(folder: Path) -> Iterator[Target]:
    """Yield the targets of this module."""
    yield _manifest(folder / "manifest", "manifest", lambda content: content)
    yield _manifest(folder / "manifest-signed", "manifest-signed", _signed)
    yield _shard_file(folder / "shard-file", "shard-file", _FULL)
    yield _shard_file(folder / "shard-increment", "shard-increment", _FULL + 1)
    yield _checkpoint(folder / "checkpoint")
    yield _journal(folder / "journal")
    yield _segment(folder / "segment")
    yield _private(folder / "private")
    yield _site(folder / "site")


def _manifest(root: Path, name: str, sign: Callable[[bytes], bytes]) -> Target:
    """Return a target for manifests as they are read at start; sign: gives any content its right digest."""
    part = root / UID / "3" / "shard-0-of-1.safetensors"
    path = write_manifest(root, Manifest(UID, 3, (ShardFileName(str(part.relative_to(root)), "0" * 64),), ("d",)))
    part.write_bytes(b"")
    valid = path.read_bytes()

    def decode(data: bytes) -> object:
        path.write_bytes(sign(data))
        complete_versions(root, UID)  # skips what read_manifest refuses
        return read_manifest(path)

    return plain(name, [valid], decode, CheckpointError)


def _signed(content: bytes) -> bytes:
    try:
        body = json.loads(content)
        body.pop("digest", None)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return content
    text = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return json.dumps({**body, "digest": hashlib.sha256(text).hexdigest()}).encode()


def _shard_file(root: Path, name: str, version: int) -> Target:
    """Return a target for a shard's file under the digest that it has: what lies behind the digest check."""
    _two_versions(root)
    path = next(root.glob(f"{UID}/{version}/*.safetensors"))
    relative = str(path.relative_to(root))
    wanted = Wanted(UID, version, 0, SHARDS, 0)

    def decode(data: bytes) -> object:
        path.write_bytes(data)
        file = ShardFileName(relative, hashlib.sha256(data).hexdigest())
        return load_part(root, [file, file], wanted)

    return plain(name, [path.read_bytes()], decode, CheckpointError)


def _two_versions(root: Path, shard_number: int = 0) -> None:
    """Write a shard's full file of version _FULL, with keyed rows and ids that wait, and an increment to it."""
    shard = make_shard(root, shard=shard_number)
    for round_ in range(1, _FULL + 2):
        commit(shard, round_, checkpoint=round_ >= _FULL)


def _checkpoint(root: Path) -> Target:
    """Return a target for a whole version, a manifest and two shards' files, that another number of shards loads."""
    parts = []
    for shard in range(SHARDS):
        _two_versions(root / str(shard), shard)
        parts.append(next(root.glob(f"{shard}/{UID}/{_FULL}/*.safetensors")).read_bytes())
    files = [root / UID / str(_FULL) / f"shard-{shard}-of-{SHARDS}.safetensors" for shard in range(SHARDS)]
    names = [str(file.relative_to(root)) for file in files]
    listed = tuple(ShardFileName(name, "0" * 64) for name in names)
    path = write_manifest(root, Manifest(UID, _FULL, listed, ("d", "e")))
    wanted = Wanted(UID, _FULL, 0, 3, 0)

    def decode(data: bytes) -> object:
        manifest, *contents = [*split(data), b"", b"", b""][: SHARDS + 1]
        path.write_bytes(_signed(manifest))
        digests = {}
        for file, name, content in zip(files, names, contents, strict=True):
            file.write_bytes(content)
            digests[name] = hashlib.sha256(content).hexdigest()
        for found in complete_versions(root, UID):
            right = [ShardFileName(file.path, digests.get(file.path, file.digest)) for file in found.files]
            return load_part(root, right, wanted)
        raise PassedOverError

    valid = join([path.read_bytes(), *parts])
    return plain("checkpoint", [valid], decode, CheckpointError, PassedOverError, streamed=True)


def _journal(root: Path) -> Target:
    path = root / "journal.jsonl"
    journal = Journal(FileLog(path), uid=UID)
    update = m.AcceptedUpdate("a", 0, (m.Receipt(0, "d", 9),))
    for round_ in range(2):
        journal.append(CohortChosen(round_, ("a",), ("a", "b"), LAYOUT.digest, (10,)))
        journal.append(ListAccepted(round_, (update,), ("b",), 10, {"Loss": 0.5}, 100))
        journal.append(RoundCommitted(round_, 0.5, durable=False))
        journal.append(RoundDurable(round_))
        journal.append(RoundEvaluated(round_, {"Loss": 0.5, "AUC": 0.7}))
    journal.append(TrainerFailed("b", ExitCode.BAD_DATA, "torn"))
    journal.append(TrainerMended("b"))
    journal.append(Rewound(0))
    journal.append(Finished(m.Outcome.FAILED, "Crashed", "", ExitCode.CRASH, 0))
    journal.close()
    valid = path.read_bytes()

    def decode(data: bytes) -> None:
        path.write_bytes(data)
        Journal(FileLog(path), uid=UID).close()

    return plain("journal", [valid], decode, JournalError)


def _segment(root: Path) -> Target:
    """Return a target for the lines of a journal's file in a store; its first line always has their digest."""
    store = f"file://{root}/store"
    journal = Journal(SegmentLog(Remote(store, root / "spool"), "journal"), uid=UID)
    journal.append(CohortChosen(0, ("a",), ("a", "b"), LAYOUT.digest, (10,)))
    journal.close()
    path = root / "store" / "journal" / "00000002.jsonl"
    head, _, valid = path.read_bytes().partition(b"\n")

    def decode(data: bytes) -> None:
        fitting = head.replace(sha256(valid).hexdigest().encode(), sha256(data).hexdigest().encode())
        path.write_bytes(fitting + b"\n" + data)
        Journal(SegmentLog(Remote(store, root / "spool"), "journal"), uid=UID).close()

    return plain("segment", [valid], decode, JournalError)


def _private(root: Path) -> Target:
    """Return a target for a trainer's private state, of which anything damaged is skipped."""
    store = PrivateStore(root, LAYOUT, job_uid=UID)
    saved = {"users": np.arange(4, dtype=np.int64), "tags": words(1)}
    store.save(1, ModelState({}, {n: RowSet(ids, np.ones((ids.size, DIM), np.float32)) for n, ids in saved.items()}))
    path = next(root.glob("*/*.safetensors"))

    def decode(data: bytes) -> None:
        path.write_bytes(data)
        loaded = store.load(1)
        for name, found in merge_rows(loaded.rows, loaded.rows).items():
            if LAYOUT[name].kind is Kind.ROWS:
                values = np.zeros(LAYOUT[name].shape, np.float32)
                values[found.ids] = found.values
        if not loaded.rows:
            raise PassedOverError

    return plain("private-state", [path.read_bytes()], decode, PassedOverError)


def _site(root: Path) -> Target:
    """Return a target for the manifest of a site's data."""
    root.mkdir()
    path = root / MANIFEST
    manifest = SiteManifest(
        dataset="synthetic",
        site="site-0",
        ids={"user": 9, "item": 9},
        num_site_ids={"user": 3, "item": 9},
        num_train=5,
        num_samples=25,
        num_test=4,
        negatives_per_positive=4,
        best_auc=0.9,
        notes="",
        digests={"train.parquet": "0" * 64},
        features=("price",),
    )
    valid = json.dumps(vars(manifest)).encode()

    def decode(data: bytes) -> object:
        path.write_bytes(data)
        return read_site(root)

    return plain("site-manifest", [valid], decode, DataError)
