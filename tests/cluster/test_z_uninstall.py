"""What `helm uninstall` leaves on a real cluster: the CRD. Named to run last, as other tests need the operator.

The chart is installed again at the end, so that a cluster that is kept stays usable.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.cluster import Cluster
from support.cluster_fixtures import SYSTEM, helm, install
from support.images import Images

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
# What Kubernetes itself puts into every namespace.
OF_THE_NAMESPACE = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
KEPT = {
    "customresourcedefinition.apiextensions.k8s.io/fljobs.fljob.dev",
    "apiservice.apiregistration.k8s.io/v1alpha1.fljob.dev",
}


def listable(cluster: Cluster, *, namespaced: bool) -> str:
    """Return every kind that the API server can list, joined by commas; events tell of the past and are left out."""
    kinds = cluster.kubectl("api-resources", "--verbs=list", f"--namespaced={str(namespaced).lower()}", "-o", "name")
    return ",".join(kind for kind in kinds.split() if not kind.startswith("events"))


def in_the_namespace(cluster: Cluster) -> set[str]:
    kinds = listable(cluster, namespaced=True)
    return set(cluster.kubectl("get", kinds, "-n", SYSTEM, "-o", "name").split()) - OF_THE_NAMESPACE


def of_the_cluster(cluster: Cluster) -> set[str]:
    names = cluster.kubectl("get", listable(cluster, namespaced=False), "-o", "name").split()
    others = {SYSTEM, *(node["metadata"]["name"] for node in cluster.items("nodes"))}
    return {name for name in names if "fljob" in name and name.rpartition("/")[2] not in others}


@pytest.fixture
def uninstalled(cluster: Cluster, images: Images, operator: str) -> Iterator[str]:
    """The notes of the chart, when it has just been uninstalled."""
    notes = helm(cluster, "get", "notes", "fljob", "-n", operator)
    try:
        helm(cluster, "uninstall", "fljob", "-n", operator, "--wait", "--timeout", "90s")
        yield notes
    finally:
        install(cluster, images)


def test_uninstall_leaves_the_crd_and_nothing_else_as_the_notes_say_and_a_new_install_works(
    cluster: Cluster, uninstalled: str
) -> None:
    assert "keeps the CRD on purpose" in uninstalled
    # Pods and what hangs on a Deployment are collected in the background.
    cluster.wait_for("the namespace to be empty", lambda: not in_the_namespace(cluster), 60)
    assert of_the_cluster(cluster) == KEPT
