"""The real API server with the FLJob CRD, for the contract tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from contract.server import FLJobs
from kubernetes import client, config, watch

from support.controlplane import ControlPlane

CRD = Path(__file__).parents[2] / "crds/fljob.dev_fljobs.yaml"


@pytest.fixture(scope="session")
def fljobs(apiserver: ControlPlane) -> Iterator[FLJobs]:
    """Install the CRD and hand out a client for a namespace of its own."""
    with config.new_client_from_config(str(apiserver.kubeconfig)) as api:
        _install(client.ApiextensionsV1Api(api), yaml.safe_load(CRD.read_text(encoding="utf-8")))
        client.CoreV1Api(api).create_namespace({"metadata": {"name": "contract"}})
        yield FLJobs(api, "contract")


def _install(extensions: client.ApiextensionsV1Api, definition: dict[str, Any]) -> None:
    """Create the definition unless other tests of the session did, and wait until it is served."""
    name = definition["metadata"]["name"]
    selector = f"metadata.name={name}"
    if not extensions.list_custom_resource_definition(field_selector=selector).items:
        extensions.create_custom_resource_definition(definition)
    events = watch.Watch().stream(
        extensions.list_custom_resource_definition, field_selector=selector, timeout_seconds=20
    )
    for event in events:
        conditions = event["object"].status.conditions or []
        if any(condition.type == "Established" and condition.status == "True" for condition in conditions):
            return
    raise TimeoutError(f"{name} was not established within 20 s")
