"""Versions, their files and the finished model behind a URI: what `test_store` says of a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fljob_runtime.checkpoints.remote import Remote
from fljob_runtime.checkpoints.remote_store import RemoteStore
from fljob_runtime.checkpoints.store import FolderStore
from fljob_runtime.errors import CheckpointError
from fljob_runtime.server.shard import Shard
from support.shards import UID, begun, config, push, save, update


def recorded(remote: Remote, root: Path, num_rounds: int, release: dict[int, list[int]] | None = None) -> RemoteStore:
    """Run rounds with a checkpoint each, recorded in the store; the shard writes by a connection of its own."""
    made = RemoteStore(remote, UID, {})
    own = remote.beside("shard")
    shard = begun(root, checkpoint=own.spool, remote=own)
    for round_ in range(1, num_rounds + 1):
        result = save(shard, round_, push(shard, update(round_), round_, "a"))
        made.record(round_, [result], (release or {}).get(round_, []))
    assert [path for path in own.spool.rglob("*") if path.is_file()] == []
    return made


def versions(store: RemoteStore, at_most: int = 99) -> list[int]:
    return [manifest.version for manifest in store.durable(at_most)]


def test_a_shard_started_anew_loads_what_was_recorded(remote: Remote, tmp_path: Path) -> None:
    made = recorded(remote, tmp_path, 3)
    newest = made.durable(3)[0]
    assert (newest.version, len(newest.bases)) == (3, 2)
    own = remote.beside("other")
    shard = Shard(replace(config(tmp_path), checkpoint=own.spool, remote=own))
    shard.restore(3, newest.files)
    assert shard.state().versions == (3,)
    assert list(own.spool.iterdir()) == []


def test_released_versions_are_deleted(remote: Remote, tmp_path: Path) -> None:
    made = recorded(remote, tmp_path, 10, release={10: list(range(1, 10))})
    assert versions(made) == [10]
    assert {name for name in ["1", "2", "8", "9", "10"] if remote.names(f"{UID}/{name}")} == {"9", "10"}  # 9 is full


def test_the_files_and_the_model_are_those_of_a_folder(tmp_path: Path) -> None:
    made = recorded(Remote(f"file://{tmp_path}/store", tmp_path / "spool"), tmp_path, 2)
    folder = FolderStore(tmp_path / "folder", UID, {})
    shard = begun(tmp_path / "folder")
    for round_ in (1, 2):
        folder.record(round_, [save(shard, round_, push(shard, update(round_), round_, "a"))], [])
    assert made.assemble(2) == folder.assemble(2)
    assert contents(tmp_path / "store") == contents(tmp_path / "folder")


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_model_is_left_in_the_store_and_nothing_in_the_spool(remote: Remote, tmp_path: Path) -> None:
    path, _ = recorded(remote, tmp_path, 1).assemble(1)
    assert remote.names(f"{UID}/model") == {"model.safetensors", "signature.json"}
    assert remote.fetch(path).stat().st_size > 0


def test_a_torn_manifest_and_a_missing_shard_are_passed_over(remote: Remote, tmp_path: Path) -> None:
    made = recorded(remote, tmp_path, 3)
    (content,) = remote.read([f"{UID}/3/manifest.json"])
    remote.write(f"{UID}/3/manifest.json", content[:-20])
    assert versions(made) == [2, 1]
    remote.delete(f"{UID}/2/shard-0-of-1.safetensors")
    assert versions(made) == [1]


def test_a_torn_file_is_refused_when_it_is_loaded(remote: Remote, tmp_path: Path) -> None:
    made = recorded(remote, tmp_path, 1)
    (content,) = remote.read([f"{UID}/1/shard-0-of-1.safetensors"])
    remote.write(f"{UID}/1/shard-0-of-1.safetensors", content[:-4])
    own = remote.beside("other")
    shard = Shard(replace(config(tmp_path), checkpoint=own.spool, remote=own))
    with pytest.raises(CheckpointError, match=r"not a shard's checkpoint|torn or replaced"):
        shard.restore(1, made.durable(1)[0].files)


def test_another_jobs_manifest_is_passed_over(remote: Remote, tmp_path: Path) -> None:
    made = recorded(remote, tmp_path, 2)
    (content,) = remote.read([f"{UID}/1/manifest.json"])
    remote.write(f"{UID}/2/manifest.json", content.replace(UID.encode(), b"another"))
    assert versions(made) == [1]


def test_a_version_that_is_not_durable_cannot_be_assembled(remote: Remote) -> None:
    with pytest.raises(CheckpointError, match="no complete checkpoint to assemble"):
        RemoteStore(remote, UID, {}).assemble(2)
