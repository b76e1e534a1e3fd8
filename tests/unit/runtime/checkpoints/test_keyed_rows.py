"""Keyed tables in a shard's file: what is written comes back; numbers that cannot be are refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from fljob_runtime.checkpoints.chain import open_chain
from fljob_runtime.checkpoints.shard_file import ShardFileName, ShardPart
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import Int64Array
from fljob_runtime.server.placement import shards_of
from support import keyed
from support.shards import named, save_named

LAYOUT = keyed.layout(admit_after=2)


@pytest.fixture
def written(tmp_path: Path) -> ShardFileName:
    """The file of a shard of two, version 2: row 2 is of version 1 and 6 of version 2; 11 waits since version 2."""
    shard = keyed.begun(LAYOUT, tmp_path, num_shards=2)
    assert shards_of("items", np.array([2, 6, 11]), 2).tolist() == [0, 0, 0]
    keyed.commit(
        shard,
        1,
        keyed.push(LAYOUT, shard, keyed.rows({2: 1.0, 6: 2.0}), 1, "a"),
        keyed.push(LAYOUT, shard, keyed.rows({2: 1.0, 6: 2.0}), 1, "b"),
    )
    last = keyed.push(LAYOUT, shard, keyed.rows({6: 3.0, 11: 1.0}), 2, "a")
    saved = save_named(shard, 2, named(last))
    return ShardFileName(saved.checkpoint, saved.checkpoint_digest)


def read_shard(root: Path, file: ShardFileName) -> ShardPart:
    return open_chain(root, file).part()


def test_what_a_shard_holds_comes_back(tmp_path: Path, written: ShardFileName) -> None:
    state = read_shard(tmp_path, written).keyed["items"]
    assert (state.ids.tolist(), state.versions.tolist()) == ([2, 6], [1, 2])
    assert state.parts[0][:, 0].tolist() == [1.0, 3.0]
    waiting = state.waiting
    assert (waiting.ids.tolist(), waiting.touches.tolist(), waiting.versions.tolist()) == ([11], [1], [2])


def changed(root: Path, file: ShardFileName, name: str, change: Callable[[Int64Array], Int64Array]) -> ShardFileName:
    """Write a file in which one tensor is another."""
    path = root / file.path
    with safe_open(path, framework="numpy") as opened:
        metadata = opened.metadata()
    tensors = load_file(path)
    save_file({**tensors, name: np.ascontiguousarray(change(tensors[name]))}, path, metadata)
    return replace(file, digest=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ids.items", lambda ids: ids[::-1], "the ids of table items are not in order"),
        ("ids.items", lambda ids: ids * 0, "the ids of table items are not in order"),
        ("ids.items", lambda ids: ids - 1, "ids out of order, or another shard's"),
        ("ids.items", lambda ids: ids[:1], "its layout needs"),
        ("ids.items", lambda ids: ids.astype(np.float64), "its layout needs"),
        ("versions.items", lambda versions: versions + 1, "versions or touches that cannot be"),
        ("versions.items", lambda versions: versions - 2, "versions or touches that cannot be"),
        ("waiting.items", lambda waiting: waiting * [[1, 0, 1]], "versions or touches that cannot be"),
        ("waiting.items", lambda waiting: waiting * [[0, 1, 1]] + [[6, 0, 0]], "ids that have a row wait for one"),
        ("waiting.items", lambda waiting: waiting[:, :2], "its layout needs"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, written: ShardFileName, name: str, change: Callable[[Int64Array], Int64Array], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_shard(tmp_path, changed(tmp_path, written, name, change))
