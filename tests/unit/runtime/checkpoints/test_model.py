"""The finished model, put together from the shards' files of a real commit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from fljob_runtime.checkpoints.manifest import Manifest
from fljob_runtime.checkpoints.model import assemble_model
from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import ModelLayout, ModelState, ParamSpec, RowSet, Scope
from fljob_runtime.server.shard import Shard
from fljob_runtime.transport.encode import encode_update
from support.shards import DIM, LAYOUT, NUM_ITEMS, UID, config, header, named, push, save_named

ITEMS = np.arange(NUM_ITEMS * DIM, dtype=np.float32).reshape(NUM_ITEMS, DIM)
STATE = ModelState(
    {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.array([7, 8, 9], np.float32)},
    {"items": RowSet(np.arange(NUM_ITEMS), ITEMS, np.ones(NUM_ITEMS))},
)


def saved(root: Path, num_shards: int, uid: str = UID) -> Manifest:
    """Commit STATE as version 0 of this many shards and return its manifest."""
    files = []
    for number in range(num_shards):
        shard = Shard(replace(config(root, shard=number, num_shards=num_shards), job_uid=uid))
        files.append(save_named(shard, 0, named(push(shard, STATE, 0, "a", job_uid=uid))))
    names = tuple(ShardFileName(file.checkpoint, file.checkpoint_digest) for file in files)
    return Manifest(uid, 0, names, tuple(file.digest for file in files))


@pytest.mark.parametrize("num_shards", [1, 2, 4])
def test_all_shared_parameters_are_whole_again(tmp_path: Path, num_shards: int) -> None:
    model = load_file(tmp_path / assemble_model(tmp_path, saved(tmp_path, num_shards), {}).path)
    assert sorted(model) == ["bias", "items", "weight"]
    assert model["weight"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert model["bias"].tolist() == [7.0, 8.0, 9.0]
    assert np.array_equal(model["items"], ITEMS)


def test_the_model_is_the_same_bytes_however_it_was_sharded(tmp_path: Path) -> None:
    one = assemble_model(tmp_path / "1", saved(tmp_path / "1", 1), {})
    assert assemble_model(tmp_path / "3", saved(tmp_path / "3", 3), {}) == one


def test_two_runs_of_a_job_make_the_same_bytes(tmp_path: Path) -> None:
    one = assemble_model(tmp_path, saved(tmp_path, 1), {"job": "movies"})
    two = assemble_model(tmp_path, saved(tmp_path, 1, "another-uid"), {"job": "movies"})
    assert (one.path != two.path, one.digest) == (True, two.digest)


def test_the_signature_says_what_it_is(tmp_path: Path) -> None:
    model = assemble_model(tmp_path, saved(tmp_path, 1), {"job": "movies"})
    signature = json.loads((tmp_path / UID / "model" / "signature.json").read_text())
    assert (signature["job"], signature["round"], signature["jobUid"]) == ("movies", 0, UID)
    assert signature["layout"] == json.loads(LAYOUT.to_json())
    with safe_open(tmp_path / model.path, framework="numpy") as file:
        assert json.loads(file.metadata()["signature"]) == {k: v for k, v in signature.items() if k != "jobUid"}


def test_the_signature_names_what_stayed_private(tmp_path: Path) -> None:
    assemble_model(tmp_path, saved(tmp_path, 1), {})
    signature = json.loads((tmp_path / UID / "model" / "signature.json").read_text())
    assert signature["privateParameters"] == ["users"]


def test_a_torn_part_is_refused(tmp_path: Path) -> None:
    manifest = saved(tmp_path, 2)
    path = tmp_path / manifest.files[1].path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="torn or replaced"):
        assemble_model(tmp_path, manifest, {})


def test_parts_in_another_order_are_refused(tmp_path: Path) -> None:
    manifest = saved(tmp_path, 2)
    swapped = Manifest(UID, 0, manifest.files[::-1], manifest.part_digests[::-1])
    with pytest.raises(CheckpointError, match=r"holds \(job, version, shard, shards\)"):
        assemble_model(tmp_path, swapped, {})


def test_what_an_algorithm_keeps_beside_a_parameter_is_not_part_of_the_model(tmp_path: Path) -> None:
    layout = ModelLayout((ParamSpec("w", (2,)), ParamSpec("w@c", (2,)), ParamSpec("w@ci", (2,), scope=Scope.PRIVATE)))
    shard = Shard(config(tmp_path))
    state = ModelState({name: np.full(2, value, np.float32) for name, value in (("w", 1.0), ("w@c", 2.0))}, {})
    (payload,) = encode_update(layout, state, 1)
    intake = shard.open_push(header(payload, 0, "a", layout=layout.to_json()))
    intake.write(b"".join(array.tobytes() for array in payload.arrays))
    done = save_named(shard, 0, named(shard.close_push(intake)))
    manifest = Manifest(UID, 0, (ShardFileName(done.checkpoint, done.checkpoint_digest),), (done.digest,))
    path = tmp_path / assemble_model(tmp_path, manifest, {}).path
    signature = json.loads((path.parent / "signature.json").read_text())
    assert {name: values.tolist() for name, values in load_file(path).items()} == {"w": [1.0, 1.0]}
    assert ([row["name"] for row in signature["layout"]], signature["privateParameters"]) == (["w"], [])
