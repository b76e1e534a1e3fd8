"""The operator's Deployment, ServiceAccount, PodDisruptionBudget and NetworkPolicy."""

from __future__ import annotations

import logging

import pytest
import yaml
from chart.rendering import CHART, NAMESPACE, Rendered, render

from fljob_operator.settings import Settings

pytestmark = pytest.mark.helm


@pytest.fixture(scope="module")
def default() -> Rendered:
    return render()


def test_pod_meets_the_restricted_pod_security_standard(default: Rendered) -> None:
    pod = default.operator["spec"]["securityContext"]
    assert (pod["runAsNonRoot"], pod["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    (container,) = default.operator["spec"]["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_volumes_are_of_a_restricted_kind(default: Rendered) -> None:
    assert default.operator["spec"]["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}]


def test_probes_ask_the_http_port(default: Rendered) -> None:
    (container,) = default.operator["spec"]["containers"]
    assert [p["name"] for p in container["ports"]] == ["http"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_images_default_to_the_version_of_the_chart(default: Rendered) -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    (container,) = default.operator["spec"]["containers"]
    assert container["image"] == f"fljob-operator:{version}"
    assert default.env["FLJOB_RUNTIME_IMAGE"] == f"fljob-runtime:{version}"


def test_images_are_taken_whole_from_the_values() -> None:
    rendered = render({"image": {"operator": "r/o@sha256:1", "runtime": "r/t:2"}})
    assert rendered.operator["spec"]["containers"][0]["image"] == "r/o@sha256:1"
    assert rendered.env["FLJOB_RUNTIME_IMAGE"] == "r/t:2"


def test_the_operator_reads_every_variable_that_the_chart_sets(default: Rendered) -> None:
    settings = Settings.from_env({**default.env, "POD_NAMESPACE": NAMESPACE, "POD_NAME": "p"})
    assert settings == Settings(
        runtime_image=default.env["FLJOB_RUNTIME_IMAGE"],
        own_namespace=NAMESPACE,
        identity="p",
        lease_name="fljob-operator",
    )


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_log_level_is_one_that_logging_knows(level: str) -> None:
    assert render({"logLevel": level}).env["FLJOB_LOG_LEVEL"] in logging.getLevelNamesMapping()


def test_pods_are_selected_by_labels_that_an_upgrade_keeps(default: Rendered) -> None:
    selector = default.only("Deployment")["spec"]["selector"]["matchLabels"]
    assert selector == {
        "app.kubernetes.io/name": "fljob",
        "app.kubernetes.io/instance": "fljob",
        "app.kubernetes.io/component": "operator",
    }


def test_pod_carries_the_labels_it_is_selected_by(default: Rendered) -> None:
    selector = default.only("Deployment")["spec"]["selector"]["matchLabels"]
    assert selector.items() <= default.operator["metadata"]["labels"].items()


def test_only_the_pod_itself_mounts_the_token(default: Rendered) -> None:
    assert default.only("ServiceAccount")["automountServiceAccountToken"] is False
    assert default.operator["spec"]["automountServiceAccountToken"] is True


def test_a_given_service_account_is_used_and_not_made() -> None:
    rendered = render({"serviceAccount": {"create": False, "name": "mine"}})
    assert rendered.all("ServiceAccount") == []
    assert rendered.operator["spec"]["serviceAccountName"] == "mine"


def test_one_replica_has_no_disruption_budget(default: Rendered) -> None:
    assert default.all("PodDisruptionBudget") == []


def test_two_replicas_keep_one_up() -> None:
    assert render({"replicas": 2}).only("PodDisruptionBudget")["spec"]["minAvailable"] == 1


def test_network_policy_opens_dns_the_api_server_and_the_http_port_only(default: Rendered) -> None:
    policy = default.only("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]
    assert policy["egress"] == [
        {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
        {"ports": [{"port": 443, "protocol": "TCP"}, {"port": 6443, "protocol": "TCP"}]},
    ]


def test_metrics_can_be_kept_to_some_peers() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    policy = render({"networkPolicy": {"metricsFrom": [peer]}}).only("NetworkPolicy")["spec"]
    assert policy["ingress"][0]["from"] == [peer]


def test_every_object_is_labelled_as_part_of_the_release() -> None:
    rendered = render({"replicas": 2, "commonLabels": {"team": "ml"}})
    own = [o for o in rendered.objects if o["kind"] != "CustomResourceDefinition"]
    assert {o["metadata"]["labels"]["team"] for o in own} == {"ml"}


def test_objects_with_a_namespace_lie_in_that_of_the_release(default: Rendered) -> None:
    assert {o["metadata"].get("namespace", NAMESPACE) for o in default.objects} == {NAMESPACE}
