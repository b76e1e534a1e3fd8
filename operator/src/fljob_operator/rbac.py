"""The permissions that the operator needs, as one list: the chart's Roles are generated from it.

Called by tools/generate_chart.py and by tests; holds no logic. Add a rule here when the operator makes a new call.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """Verbs on resources of one API group."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]

    def manifest(self) -> dict[str, list[str]]:
        """Return the rule as in a Role."""
        return {"apiGroups": [self.group], "resources": list(self.resources), "verbs": list(self.verbs)}


_CHILD = ("list", "watch", "create", "patch")

WATCHED: tuple[Rule, ...] = (
    # Deleted only at the end of spec.ttlSecondsAfterFinished.
    Rule("fljob.dev", ("fljobs",), ("get", "list", "watch", "delete")),
    Rule("fljob.dev", ("fljobs/status",), ("patch",)),
    # Where OwnerReferencesPermissionEnforcement is on, an owner reference that blocks deletion needs it.
    Rule("fljob.dev", ("fljobs/finalizers",), ("update",)),
    Rule("batch", ("jobs",), (*_CHILD, "delete")),
    Rule("", ("services", "serviceaccounts"), _CHILD),
    # `get` is not used: the coordinator's Role has it, and nobody may grant what he does not hold.
    Rule("", ("configmaps",), ("get", *_CHILD)),
    Rule("networking.k8s.io", ("networkpolicies",), _CHILD),
    Rule("rbac.authorization.k8s.io", ("roles", "rolebindings"), _CHILD),
    # By name only: the operator reads no Secret that it did not make, and changes none.
    Rule("", ("secrets",), ("get", "create")),
    Rule("", ("persistentvolumeclaims",), ("get", "create", "patch")),
    Rule("", ("pods",), ("list", "watch")),
    Rule("", ("events",), ("list", "create")),
)
OWN: tuple[Rule, ...] = (Rule("coordination.k8s.io", ("leases",), ("get", "create", "update")),)
