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
    TableRules,
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


# Keyed tables.


MIXED = ModelLayout(
    (
        *LAYOUT.specs,
        ParamSpec("ads", (16,), Kind.KEYED, rules=TableRules(admit_after=3, expire_after_rounds=20, max_rows=1000)),
        ParamSpec("words", (8,), Kind.KEYED, Scope.PRIVATE, TableRules(initial_std=0.0, initial_bound=0.5)),
    )
)


def test_a_layout_with_keyed_tables_reads_back_what_it_wrote() -> None:
    assert ModelLayout.from_json(MIXED.to_json()) == MIXED
    assert ModelLayout.from_json(MIXED.to_json()).to_json() == MIXED.to_json()


def test_keyed_tables_stand_among_the_tables_in_layout_order() -> None:
    assert [spec.name for spec in MIXED.shared_tables] == ["user.gmf", "user.mlp", "ads"]


def test_a_keyed_table_has_no_part_in_the_dense_vector() -> None:
    assert MIXED.dense_size == LAYOUT.dense_size


def test_rules_are_part_of_the_digest() -> None:
    layouts = [ModelLayout((ParamSpec("ads", (16,), Kind.KEYED, rules=TableRules(std)),)) for std in (0.01, 0.02)]
    assert layouts[0].digest != layouts[1].digest


def test_the_length_of_a_row_is_the_last_dimension() -> None:
    assert [spec.dim for spec in MIXED.shared_tables] == [2, 3, 16]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"initial_std": -1.0}, "one of them may be above 0"),
        ({"initial_std": float("nan")}, "one of them may be above 0"),
        ({"initial_bound": 0.1}, "one of them may be above 0"),
        ({"initial_std": 1e9}, "one of them may be above 0"),
        ({"admit_after": 0}, "admit_after is 0; 1 is the least"),
        ({"expire_after_rounds": -1}, "expire_after_rounds is -1; 0 is the least"),
        ({"max_rows": 1 << 31}, "max_rows is 2147483648"),
    ],
)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        TableRules(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("rules", [b"{}", b"[]", b"null", b'{"initial_std":0,"initial_bound":0,"odd":1}'])
def test_a_layout_with_broken_rules_is_refused(rules: bytes) -> None:
    text = b'[{"kind":"keyed","name":"b","rules":%s,"scope":"shared","shape":[2]}]' % rules
    with pytest.raises(LayoutError):
        ModelLayout.from_json(text)


def test_a_keyed_table_has_one_dimension_and_rules() -> None:
    with pytest.raises(LayoutError, match=r"a keyed table needs shape \(D,\), not \(4, 2\)"):
        ParamSpec("ads", (4, 2), Kind.KEYED, rules=TableRules())
    with pytest.raises(LayoutError, match="keyed tables have rules, and nothing else has"):
        ParamSpec("ads", (4,), Kind.KEYED)
    with pytest.raises(LayoutError, match="keyed tables have rules, and nothing else has"):
        ParamSpec("ads", (4,), rules=TableRules())
