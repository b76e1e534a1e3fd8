"""The chart gives the operator what fljob_operator.rbac asks for, where it is asked for, and no more."""

from __future__ import annotations

from typing import Any

import pytest
from chart.rendering import NAMESPACE, Rendered, render

from fljob_operator import rbac

pytestmark = pytest.mark.helm
WATCHED = [rule.manifest() for rule in rbac.WATCHED]
OWN = [rule.manifest() for rule in rbac.OWN]


@pytest.fixture(scope="module")
def whole_cluster() -> Rendered:
    return render()


@pytest.fixture(scope="module")
def two_namespaces() -> Rendered:
    return render({"watchNamespaces": ["a", "b", "a"]})


def test_cluster_role_has_the_operators_rules(whole_cluster: Rendered) -> None:
    assert whole_cluster.only("ClusterRole", "fljob-operator")["rules"] == WATCHED


def test_own_role_has_the_rules_for_the_release_namespace(whole_cluster: Rendered) -> None:
    role = whole_cluster.only("Role")
    assert (role["metadata"]["namespace"], role["rules"]) == (NAMESPACE, OWN)


def test_each_watched_namespace_has_a_role_with_the_rules(two_namespaces: Rendered) -> None:
    roles = {r["metadata"]["namespace"]: r["rules"] for r in two_namespaces.all("Role")}
    assert roles == {"a": WATCHED, "b": WATCHED, NAMESPACE: OWN}


def test_watched_namespaces_leave_no_cluster_wide_right(two_namespaces: Rendered) -> None:
    assert two_namespaces.all("ClusterRoleBinding") == []
    assert {r["metadata"]["name"] for r in two_namespaces.all("ClusterRole")} == {"fljob-view", "fljob-edit"}


def test_an_installation_for_some_namespaces_can_do_without_cluster_wide_objects() -> None:
    rendered = render({"watchNamespaces": ["a"], "rbac": {"aggregate": False}, "crds": {"install": False}})
    assert [o["kind"] for o in rendered.objects if "namespace" not in o["metadata"]] == []


def test_the_operator_is_told_which_namespaces_it_watches(two_namespaces: Rendered) -> None:
    assert two_namespaces.env["FLJOB_WATCH_NAMESPACES"] == "a,b"


@pytest.mark.parametrize("fixture", ["whole_cluster", "two_namespaces"])
def test_every_binding_names_a_role_of_the_chart_and_the_operators_account(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    rendered: Rendered = request.getfixturevalue(fixture)
    account = {"kind": "ServiceAccount", "name": "fljob-operator", "namespace": NAMESPACE}
    bindings = rendered.all("RoleBinding") + rendered.all("ClusterRoleBinding")
    assert [b["subjects"] for b in bindings] == [[account]] * len(bindings)
    assert {_place(b, b["roleRef"]["kind"], b["roleRef"]["name"]) for b in bindings} == {
        _place(r, r["kind"], r["metadata"]["name"])
        for r in rendered.all("Role") + [c for c in rendered.all("ClusterRole") if "-operator" in c["metadata"]["name"]]
    }


def test_no_rule_has_a_wildcard_or_lists_secrets() -> None:
    assert not [r for r in WATCHED + OWN if "*" in r["apiGroups"] + r["resources"] + r["verbs"]]
    assert not [r for r in WATCHED if "secrets" in r["resources"] and {"list", "watch"} & set(r["verbs"])]


def test_view_reads_and_edit_changes_fljobs(whole_cluster: Rendered) -> None:
    view, edit = whole_cluster.only("ClusterRole", "fljob-view"), whole_cluster.only("ClusterRole", "fljob-edit")
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert view["rules"][0]["verbs"] == ["get", "list", "watch"]
    assert edit["rules"] == [
        {
            "apiGroups": ["fljob.dev"],
            "resources": ["fljobs"],
            "verbs": ["create", "update", "patch", "delete", "deletecollection"],
        }
    ]


def test_rbac_can_be_left_to_someone_else() -> None:
    rendered = render({"rbac": {"create": False, "aggregate": False}})
    assert [o["kind"] for o in rendered.objects if "Role" in o["kind"]] == []


def _place(named: dict[str, Any], kind: str, name: str) -> tuple[str, str, str]:
    return named["metadata"].get("namespace", ""), kind, name
