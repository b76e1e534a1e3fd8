"""The coordinator's view of the checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from fljob_runtime.checkpoints.files import sha256_of
from fljob_runtime.checkpoints.store import FolderStore
from fljob_runtime.errors import CheckpointError
from support.shards import UID, begun, commit, push, save, update


def store(root: Path) -> FolderStore:
    return FolderStore(root, UID, {})


def recorded(root: Path, num_rounds: int, release: dict[int, list[int]] | None = None) -> FolderStore:
    """Run rounds with a checkpoint each, recorded in the store."""
    made, shard = store(root), begun(root)
    for round_ in range(1, num_rounds + 1):
        result = save(shard, round_, push(shard, update(round_), round_, "a"))
        made.record(round_, [result], (release or {}).get(round_, []))
    return made


def test_recorded_versions_are_durable(tmp_path: Path) -> None:
    assert [manifest.version for manifest in recorded(tmp_path, 3).durable(3)] == [3, 2, 1]


def test_released_versions_are_deleted(tmp_path: Path) -> None:
    made = recorded(tmp_path, 10, release={10: list(range(1, 10))})
    assert [manifest.version for manifest in made.durable(10)] == [10]
    assert sorted(path.name for path in (tmp_path / UID).iterdir()) == ["10", "9"]  # 9 is full, 10 builds upon it


def test_a_version_that_was_not_recorded_is_not_durable(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    save(shard, 1, push(shard, update(1.0), 1, "a"))
    assert store(tmp_path).durable(1) == []


def test_versions_of_any_number_of_shards_are_durable(tmp_path: Path) -> None:
    made = recorded(tmp_path, 1)
    shards = [begun(tmp_path, shard=number, num_shards=2) for number in range(2)]
    for shard in shards:
        commit(shard, 1, push(shard, update(1.0), 1, "a"))
    made.record(2, [save(shard, 2, push(shard, update(2.0), 2, "a")) for shard in shards], [])
    assert [(manifest.version, manifest.num_shards) for manifest in made.durable(2)] == [(2, 2), (1, 1)]


def test_the_finished_model_has_the_digest_of_its_file(tmp_path: Path) -> None:
    path, digest = recorded(tmp_path, 2).assemble(2)
    assert path == f"{UID}/model/model.safetensors"
    assert digest == f"sha256:{sha256_of(tmp_path / path)}"


def test_a_version_that_is_not_durable_cannot_be_assembled(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no complete checkpoint to assemble"):
        recorded(tmp_path, 1).assemble(2)
