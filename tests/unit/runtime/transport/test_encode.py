"""What of a model becomes bytes, and what never does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fljob_runtime.errors import PrivateParameterError
from fljob_runtime.packed import unpack_ids
from fljob_runtime.parameters import Kind, LayoutError, ModelLayout, ParamSpec, RowSet, Scope
from fljob_runtime.server.staging import BlockKind
from fljob_runtime.transport.encode import encode_update
from support.shards import LAYOUT, update

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
ROWS = RowSet(np.array([1], np.int64), np.ones((1, 2), np.float32), np.ones(1))


def test_dense_parameters_go_in_the_order_of_the_layout() -> None:
    state = replace(update(0.0), dense={"bias": np.full(3, 2, np.float32), "weight": np.ones((2, 3), np.float32)})
    (payload,) = encode_update(LAYOUT, state, 1)
    assert [array.tolist() for array in payload.arrays] == [[1, 1, 1, 1, 1, 1], [2, 2, 2]]


def test_a_shards_dense_range_may_begin_within_a_parameter() -> None:
    state = replace(update(0.0), dense={"bias": np.array([6, 7, 8], np.float32), "weight": WEIGHT})
    _, payload = encode_update(LAYOUT, state, 2)
    assert [array.tolist() for array in payload.arrays] == [[4, 5], [6, 7, 8]]


def test_a_large_parameter_is_not_copied() -> None:
    state = replace(update(0.0), dense={"bias": np.zeros(3, np.float32), "weight": WEIGHT})
    (payload,) = encode_update(LAYOUT, state, 1)
    assert np.shares_memory(payload.arrays[0], WEIGHT)


def test_rows_go_as_ids_values_and_weights() -> None:
    (payload,) = encode_update(LAYOUT, update(0.0, {3: 4.0}, weight=2.0), 1)
    assert [block.kind for block in payload.blocks[1:]] == [
        BlockKind.PACKED_IDS,
        BlockKind.ROW_VALUES,
        BlockKind.PACKED_WEIGHTS,
    ]
    ids, values, weights = payload.arrays[2:]
    assert (unpack_ids(ids.view(np.uint8), 1).tolist(), values.tolist(), weights.tolist()) == ([3], [[4.0, 4.0]], [2])


def test_every_row_goes_to_one_shard() -> None:
    payloads = encode_update(LAYOUT, update(0.0, dict.fromkeys(range(40), 1.0)), 3)
    ids = [unpack_ids(p.arrays[-3].view(np.uint8), p.blocks[-3].num_rows) for p in payloads]
    assert sorted(np.concatenate(ids).tolist()) == list(range(40))


def test_a_shard_without_rows_gets_only_its_dense_range() -> None:
    payloads = encode_update(LAYOUT, update(0.0, {3: 1.0}), 4)
    assert sorted(len(payload.blocks) for payload in payloads) == [1, 1, 1, 4]


def test_payload_counts_only_what_it_holds() -> None:
    (payload,) = encode_update(LAYOUT, update(0.0, {3: 1.0}), 1)
    assert payload.num_bytes == 9 * 4 + 17 + 2 * 4 + 1


def test_private_rows_are_refused() -> None:
    state = replace(update(0.0), rows={"users": ROWS})
    with pytest.raises(PrivateParameterError, match=r"may not leave the trainer: \['users'\]"):
        encode_update(LAYOUT, state, 1)


def test_a_private_dense_parameter_is_refused() -> None:
    layout = ModelLayout((ParamSpec("weight", (2, 3)), ParamSpec("bias", (3,), Kind.DENSE, Scope.PRIVATE)))
    with pytest.raises(PrivateParameterError, match=r"\['bias'\]"):
        encode_update(layout, update(0.0), 1)


def test_an_unknown_parameter_is_refused() -> None:
    state = replace(update(0.0), rows={"genres": ROWS})
    with pytest.raises(LayoutError, match="no parameter 'genres'"):
        encode_update(LAYOUT, state, 1)


def test_a_missing_dense_parameter_is_refused() -> None:
    with pytest.raises(LayoutError, match=r"parameter weight: .* found nothing"):
        encode_update(LAYOUT, replace(update(0.0), dense={}), 1)
