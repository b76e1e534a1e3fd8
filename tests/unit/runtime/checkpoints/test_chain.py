"""A part that lies in a full file and increments to it: what is read is what was in memory, or why it cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fljob_runtime.checkpoints import chain
from fljob_runtime.checkpoints.chain import open_chain
from fljob_runtime.checkpoints.shard_file import ShardFileName, ShardPart, TablePart, write_shard
from fljob_runtime.errors import CheckpointError
from support.shards import DIM, PART


def rows(ids: list[int], value: float) -> dict[str, TablePart]:
    return {"items": TablePart(np.full((len(ids), DIM), value, np.float32), (), np.array(ids, np.int64))}


def upon(base: ShardFileName, version: int, ids: list[int], value: float) -> ShardPart:
    """Return the increment that sets these rows, and all that is dense, to one value."""
    return replace(PART, version=version, dense=np.full(9, value, np.float32), tables=rows(ids, value), base=base)


@pytest.fixture
def files(tmp_path: Path) -> list[ShardFileName]:
    """Return a full file of version 3, and the increments 4 (rows 1, 2) and 5 (rows 2, 3)."""
    full = write_shard(tmp_path, PART)
    one = write_shard(tmp_path, upon(full, 4, [1, 2], 400.0))
    return [full, one, write_shard(tmp_path, upon(one, 5, [2, 3], 500.0))]


def test_of_each_row_the_newest_value_counts(tmp_path: Path, files: list[ShardFileName]) -> None:
    part = open_chain(tmp_path, files[2]).part()
    assert part.tables["items"].values[:5].tolist() == [[0, 1], [400, 400], [500, 500], [500, 500], [8, 9]]
    assert (part.version, set(part.dense.tolist()), part.base) == (5, {500.0}, None)


def test_a_base_can_be_read_as_it_was(tmp_path: Path, files: list[ShardFileName]) -> None:
    assert open_chain(tmp_path, files[1]).part().tables["items"].values[2:4].tolist() == [[400, 400], [6, 7]]


def test_an_increment_may_change_no_row(tmp_path: Path, files: list[ShardFileName]) -> None:
    file = write_shard(tmp_path, upon(files[2], 6, [], 600.0))
    assert open_chain(tmp_path, file).part().tables["items"].values[3].tolist() == [500, 500]


def test_a_torn_base_is_named_with_what_builds_upon_it(tmp_path: Path, files: list[ShardFileName]) -> None:
    path = tmp_path / files[1].path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"5/shard-0-of-1.safetensors: its base cannot be used: .*4/.* torn"):
        open_chain(tmp_path, files[2])


def test_a_missing_base_is_named(tmp_path: Path, files: list[ShardFileName]) -> None:
    (tmp_path / files[0].path).unlink()
    with pytest.raises(CheckpointError, match=r"its base cannot be used: cannot read .*3/shard-0.*No such file"):
        open_chain(tmp_path, files[2])


def test_a_base_of_another_job_is_refused(tmp_path: Path) -> None:
    foreign = write_shard(tmp_path, replace(PART, job_uid="another"))
    with pytest.raises(CheckpointError, match=r"its base another/3/.* is another's: .*'another', 0, 1"):
        open_chain(tmp_path, write_shard(tmp_path, upon(foreign, 4, [1], 1.0)))


@pytest.mark.parametrize("version", [3, 2])
def test_a_base_that_is_not_older_is_refused(tmp_path: Path, files: list[ShardFileName], version: int) -> None:
    moved = replace(files[0], path="elsewhere.safetensors")
    (tmp_path / moved.path).write_bytes((tmp_path / files[0].path).read_bytes())
    file = write_shard(tmp_path, upon(moved, version, [1], 1.0))
    with pytest.raises(CheckpointError, match=rf"is of version {version}, its base .* of 3"):
        open_chain(tmp_path, file)


def test_a_chain_that_is_too_long_is_refused(
    tmp_path: Path, files: list[ShardFileName], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "MAX_FILES", 2)
    assert open_chain(tmp_path, files[1]).header.version == 4
    with pytest.raises(CheckpointError, match=r"5/shard-0-of-1.safetensors: builds upon more than 1 files"):
        open_chain(tmp_path, files[2])


@pytest.mark.parametrize(
    ("ids", "words"), [([2, 1], "not in order"), ([1, 1], "not in order"), ([40], "another shard's")]
)
def test_rows_that_are_not_the_shards_are_refused(tmp_path: Path, ids: list[int], words: str) -> None:
    file = write_shard(tmp_path, upon(write_shard(tmp_path, PART), 4, ids, 1.0))
    with pytest.raises(CheckpointError, match=words):
        open_chain(tmp_path, file).part()


def test_an_increment_without_ids_is_refused(tmp_path: Path) -> None:
    base = write_shard(tmp_path, PART)
    with pytest.raises(CheckpointError, match="its layout needs"):
        open_chain(tmp_path, write_shard(tmp_path, replace(PART, version=4, base=base)))
