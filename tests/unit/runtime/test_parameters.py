"""Layouts and states: canonical form, scopes, packing; every refusal names the parameter."""

from __future__ import annotations

import numpy as np
import pytest

from fljob_runtime.parameters import (
    Kind,
    LayoutError,
    ModelLayout,
    ModelState,
    ParamSpec,
    RowSet,
    Scope,
    pack_dense,
    unpack_dense,
)

LAYOUT = ModelLayout(
    (
        ParamSpec("user.gmf", (4, 2), Kind.ROWS),
        ParamSpec("user.mlp", (4, 3), Kind.ROWS),
        ParamSpec("weight", (2, 3)),
        ParamSpec("bias", (2,)),
    )
)
DENSE = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.array([7, 8], np.float32)}


def rows(*ids: int) -> RowSet:
    return RowSet(np.array(ids, np.int64), np.ones((len(ids), 2), np.float32))


def test_a_layout_reads_back_what_it_wrote() -> None:
    assert ModelLayout.from_json(LAYOUT.to_json()) == LAYOUT


def test_the_digest_changes_with_scope_and_shape() -> None:
    private = LAYOUT.with_scopes({"user.gmf": Scope.PRIVATE})
    wider = ModelLayout((*LAYOUT.specs[:3], ParamSpec("bias", (3,))))
    assert len({LAYOUT.digest, private.digest, wider.digest}) == 3


def test_the_digest_is_that_of_the_canonical_form() -> None:
    layout = ModelLayout((ParamSpec("b", (2,)),))
    assert layout.to_json() == b'[{"kind":"dense","name":"b","scope":"shared","shape":[2]}]'
    assert layout.digest == "11a90715a62c5a77ffccae29452091313e91ddfccc0ff7c5fd2d80575615df8e"


@pytest.mark.parametrize("text", [b"", b"{}x", b"[1]", b'[{"name":"a"}]', b'[{"name":"a","shape":[1],"kind":"odd"}]'])
def test_what_is_no_layout_is_refused(text: bytes) -> None:
    with pytest.raises(LayoutError, match="not a model layout"):
        ModelLayout.from_json(text)


def test_a_scope_by_prefix_covers_all_tables_below_it() -> None:
    layout = LAYOUT.with_scopes({"user": Scope.PRIVATE})
    assert [s.name for s in layout.select(Kind.ROWS, Scope.PRIVATE)] == ["user.gmf", "user.mlp"]
    assert layout.shared_tables == ()


def test_a_scope_for_a_name_that_is_only_the_beginning_of_another_is_refused() -> None:
    with pytest.raises(LayoutError, match="no parameter 'us'; the model has"):
        LAYOUT.with_scopes({"us": Scope.PRIVATE})


def test_private_dense_parameters_are_not_in_the_shared_vector() -> None:
    assert LAYOUT.dense_size == 8
    assert LAYOUT.with_scopes({"weight": Scope.PRIVATE}).dense_size == 2


def test_a_state_splits_into_what_may_leave_and_what_may_not() -> None:
    layout = LAYOUT.with_scopes({"user.gmf": Scope.PRIVATE, "bias": Scope.PRIVATE})
    state = ModelState(DENSE, {"user.gmf": rows(1), "user.mlp": rows(2)})
    shared, private = state.shared(layout), state.private(layout)
    assert (list(shared.dense), list(shared.rows)) == (["weight"], ["user.mlp"])
    assert (list(private.dense), list(private.rows)) == (["bias"], ["user.gmf"])


def test_merging_the_parts_of_a_state_gives_it_back() -> None:
    state = ModelState({}, {"user.gmf": rows(1)}).merged(ModelState(DENSE, {"user.mlp": rows(2)}))
    assert state.dense.keys() == {"weight", "bias"}
    assert state.rows.keys() == {"user.gmf", "user.mlp"}


def test_merging_states_that_share_a_name_is_refused() -> None:
    with pytest.raises(LayoutError, match="given twice: \\['bias'\\]"):
        ModelState(DENSE, {}).merged(ModelState({"bias": DENSE["bias"]}, {}))


def test_packing_concatenates_in_layout_order() -> None:
    assert pack_dense(LAYOUT.shared_dense, DENSE).tolist() == [0, 1, 2, 3, 4, 5, 7, 8]


def test_unpacking_cuts_views_of_the_right_shapes() -> None:
    vector = np.arange(8, dtype=np.float32)
    parts = unpack_dense(LAYOUT.shared_dense, vector)
    assert parts["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.shares_memory(parts["bias"], vector)


@pytest.mark.parametrize(
    ("dense", "found"),
    [({"weight": DENSE["weight"]}, "found nothing"), ({**DENSE, "bias": np.zeros(3, np.float32)}, "found shape \\(3,")],
)
def test_packing_what_does_not_fit_names_the_parameter(dense: dict[str, np.ndarray], found: str) -> None:
    with pytest.raises(LayoutError, match=f"parameter bias: expected shape \\(2,\\), {found}"):
        pack_dense(LAYOUT.shared_dense, dense)


def test_unpacking_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(LayoutError, match="expected 8 elements, found shape \\(7,\\)"):
        unpack_dense(LAYOUT.shared_dense, np.zeros(7, np.float32))


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [("", (1,), Kind.DENSE), ("n" * 254, (1,), Kind.DENSE), ("n", (0,), Kind.DENSE), ("n", (4,), Kind.ROWS)],
)
def test_impossible_parameters_are_refused(name: str, shape: tuple[int, ...], kind: Kind) -> None:
    with pytest.raises(LayoutError, match="parameter"):
        ParamSpec(name, shape, kind)


def test_parameter_names_must_be_unique() -> None:
    with pytest.raises(LayoutError, match="not unique"):
        ModelLayout((ParamSpec("a", (1,)), ParamSpec("a", (2,))))
