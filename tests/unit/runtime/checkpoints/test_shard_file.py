"""A shard's checkpoint file: what is written comes back; what is torn, changed or foreign does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from fljob_runtime.checkpoints.chain import open_chain
from fljob_runtime.checkpoints.files import sha256_of
from fljob_runtime.checkpoints.shard_file import ShardFileName, ShardPart, write_shard
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import ModelLayout, ParamSpec
from support.shards import PART, UID


def read_shard(root: Path, file: ShardFileName) -> ShardPart:
    return open_chain(root, file).part()


def test_a_part_comes_back(tmp_path: Path) -> None:
    back = read_shard(tmp_path, write_shard(tmp_path, PART))
    assert back.dense.tobytes() == PART.dense.tobytes()
    assert back.tables["items"].values.tobytes() == PART.tables["items"].values.tobytes()
    assert replace(back, dense=PART.dense, tables=PART.tables) == PART


def test_the_path_says_job_version_and_shard(tmp_path: Path) -> None:
    assert write_shard(tmp_path, PART).path == f"{UID}/3/shard-0-of-1.safetensors"


def test_equal_parts_are_equal_files(tmp_path: Path) -> None:
    assert write_shard(tmp_path / "a", PART) == write_shard(tmp_path / "b", PART)


@pytest.mark.parametrize("kept", [0, 7, 100, 700])
def test_a_torn_file_is_refused(tmp_path: Path, kept: int) -> None:
    written = write_shard(tmp_path, PART)
    path = tmp_path / written.path
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="torn or replaced"):
        read_shard(tmp_path, written)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    written = write_shard(tmp_path, PART)
    content = bytearray((tmp_path / written.path).read_bytes())
    content[-1] ^= 1
    (tmp_path / written.path).write_bytes(content)
    with pytest.raises(CheckpointError, match="torn or replaced"):
        read_shard(tmp_path, written)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*/nothing: No such file"):
        read_shard(tmp_path, ShardFileName("nothing", "0" * 64))


def test_what_is_not_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"not a checkpoint at all")
    with pytest.raises(CheckpointError, match="not a shard's checkpoint"):
        read_shard(tmp_path, ShardFileName("x", sha256_of(tmp_path / "x")))


def test_someone_else_s_safetensors_is_refused(tmp_path: Path) -> None:
    save_file({"dense": PART.dense}, tmp_path / "x")
    with pytest.raises(CheckpointError, match="format None"):
        read_shard(tmp_path, ShardFileName("x", sha256_of(tmp_path / "x")))


def test_tensors_that_do_not_fit_the_layout_are_refused(tmp_path: Path) -> None:
    written = write_shard(tmp_path, replace(PART, layout=ModelLayout((ParamSpec("weight", (4,)),))))
    with pytest.raises(CheckpointError, match="its layout needs"):
        read_shard(tmp_path, written)


@pytest.mark.parametrize(
    "changes",
    [{"num_shards": 0}, {"num_shards": -1}, {"shard": 1}, {"shard": -1}, {"num_slots": 10**9}, {"num_slots": -1}],
    ids=str,
)
def test_a_place_that_no_shard_has_is_refused(tmp_path: Path, changes: dict[str, int]) -> None:
    with pytest.raises(CheckpointError, match="cannot be shard"):
        read_shard(tmp_path, write_shard(tmp_path, replace(PART, **changes)))  # type: ignore[arg-type]
