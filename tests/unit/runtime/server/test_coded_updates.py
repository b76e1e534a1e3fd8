"""What a shard makes of compressed updates, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fljob_api.strategy import CompressorSpec
from fljob_runtime.compression.chain import Chain, make
from fljob_runtime.errors import LayoutMismatchError, MalformedError
from fljob_runtime.parameters import ModelState
from fljob_runtime.server.shard import Shard
from fljob_runtime.server.staging import Staged
from fljob_runtime.transport.encode import Coding, encode_update, received_update
from support.shards import LAYOUT, begun, commit, header, push, update

DIFFERENCE = update(0.5, {3: 4.0, 9: -5.0}, weight=2.0)
CHAINS = [("fp16",), ("bf16",), ("int8",), ("int4",), ("topK",), ("sketch",), ("topK", "int8"), ("sketch", "int4")]


def chain(*names: str) -> Chain:
    made = make([CompressorSpec(name=name) for name in names], 0)
    assert made is not None
    return made


def coded(shard: Shard, state: ModelState, codecs: Chain, trainer: str = "a", **changes: Any) -> Staged:
    """Push a difference for round 1; `changes` are of the header."""
    coding = Coding(codecs, 1, 0, trainer)
    (payload,) = encode_update(LAYOUT, state, 1, coding)
    intake = shard.open_push(header(payload, 1, trainer, codecs=codecs.names, **changes))
    for array in payload.arrays:
        intake.write(array.tobytes())
    return shard.close_push(intake)


@pytest.mark.parametrize("names", CHAINS)
def test_a_difference_is_added_to_the_version_before(tmp_path: Path, names: tuple[str, ...]) -> None:
    codecs = chain(*names)
    shard = begun(tmp_path, 1.0, compression=codecs)
    staged = coded(shard, DIFFERENCE, codecs)
    received = received_update(LAYOUT, DIFFERENCE, 1, Coding(codecs, 1, 0, "a"))
    assert staged.dense.tolist() == [1.0 + x for name in ("weight", "bias") for x in received.dense[name].reshape(-1)]
    assert np.array_equal(staged.rows["items"].values, 1.0 + received.rows["items"].values)
    assert staged.rows["items"].positions.tolist() == [3, 9]
    assert staged.rows["items"].weights.tolist() == [2.0, 2.0]


def test_a_committed_difference_is_the_next_version(tmp_path: Path) -> None:
    shard = begun(tmp_path, 1.0, compression=chain("fp16"))
    commit(shard, 1, coded(shard, DIFFERENCE, chain("fp16")))
    assert shard.model().dense(1).tolist() == [1.5] * 9
    assert shard.model().rows(1, "items", np.array([3, 4]))[:, 0].tolist() == [5.0, 1.0]


def test_the_order_of_arrival_does_not_matter(tmp_path: Path) -> None:
    digests = []
    for order in ("ab", "ba"):
        shard = begun(tmp_path, 1.0, compression=chain("topK", "int4"))
        staged = [coded(shard, DIFFERENCE, chain("topK", "int4"), trainer) for trainer in order]
        digests.append(commit(shard, 1, *staged).digest)
    assert digests[0] == digests[1]


def test_a_repeated_push_has_the_same_digest(tmp_path: Path) -> None:
    shard = begun(tmp_path, compression=chain("int4"))
    assert coded(shard, DIFFERENCE, chain("int4")).digest == coded(shard, DIFFERENCE, chain("int4")).digest


def test_another_codec_than_the_jobs_is_refused(tmp_path: Path) -> None:
    shard = begun(tmp_path, compression=chain("topK", "int8"))
    with pytest.raises(LayoutMismatchError, match=r"coded by int8, this job's strategy\.compression is topK, int8"):
        coded(shard, DIFFERENCE, chain("int8"))


def test_values_are_refused_where_differences_are_due(tmp_path: Path) -> None:
    with pytest.raises(LayoutMismatchError, match="coded by nothing"):
        push(begun(tmp_path, compression=chain("int8")), DIFFERENCE, 1, "a")


def test_codecs_are_refused_where_the_job_has_none(tmp_path: Path) -> None:
    with pytest.raises(LayoutMismatchError, match=r"this job's .* is nothing"):
        coded(begun(tmp_path), DIFFERENCE, chain("int8"))


def test_a_block_of_another_size_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    shard = begun(tmp_path, compression=chain("int8"))
    (payload,) = encode_update(LAYOUT, DIFFERENCE, 1, Coding(chain("int8"), 1, 0, "a"))
    blocks = (replace(payload.blocks[0], num_bytes=1 << 50), *payload.blocks[1:])
    with pytest.raises(LayoutMismatchError, match="the first block must be"):
        shard.open_push(header(payload, 1, "a", codecs=("int8",), blocks=blocks))
    assert shard.reserved_bytes == 0


def test_the_decoded_numbers_count_in_the_memory_budget(tmp_path: Path) -> None:
    shard = begun(tmp_path, compression=chain("int8"))
    coded(shard, DIFFERENCE, chain("int8"))
    assert shard.reserved_bytes > shard.staged_bytes + 4 * 9


def test_malformed_codes_leave_nothing_behind(tmp_path: Path) -> None:
    shard = begun(tmp_path, compression=chain("int8"))
    (payload,) = encode_update(LAYOUT, DIFFERENCE, 1, Coding(chain("int8"), 1, 0, "a"))
    intake = shard.open_push(header(payload, 1, "a", codecs=("int8",)))
    intake.write(b"\xff" * payload.blocks[0].num_bytes)
    for array in payload.arrays[1:]:
        intake.write(array.tobytes())
    with pytest.raises(MalformedError, match="scale"):
        shard.close_push(intake)
    assert (shard.reserved_bytes, shard.staged_bytes) == (0, 0)


def test_a_sum_that_overflows_is_refused(tmp_path: Path) -> None:
    shard = begun(tmp_path, 3e38, compression=chain("bf16"))
    with pytest.raises(MalformedError, match="not finite"):
        coded(shard, update(3e38), chain("bf16"))


def test_an_update_from_an_older_version_is_added_to_that_version(tmp_path: Path) -> None:
    codecs = chain("fp16")
    shard = begun(tmp_path, 1.0, compression=codecs, buffered=True)
    commit(shard, 1, coded(shard, DIFFERENCE, codecs, "b"))
    late = coded(shard, DIFFERENCE, codecs)  # for round 1 still: from version 0, though version 1 is there
    assert shard.model().dense(1).tolist() == [1.5] * 9
    assert late.dense.tolist() == [1.5] * 9
    assert late.rows["items"].values[:, 0].tolist() == [5.0, -4.0]
