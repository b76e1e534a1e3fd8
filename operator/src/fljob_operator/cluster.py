"""The only module that talks to the API server: get, list, server-side apply, create, delete, patch. Plain manifests.

Every call has a timeout. Built on kubernetes.aio's ApiClient for authentication and connections.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from kubernetes.aio import client, config

from fljob_api import API_VERSION, GROUP, PLURAL, VERSION, names
from fljob_operator.desired import Manifest
from fljob_operator.metrics import OperatorMetrics

PAGE = 500
_PATHS = {
    ("v1", "ConfigMap"): ("/api/v1", "configmaps"),
    ("v1", "Secret"): ("/api/v1", "secrets"),
    ("v1", "Service"): ("/api/v1", "services"),
    ("v1", "ServiceAccount"): ("/api/v1", "serviceaccounts"),
    ("v1", "Pod"): ("/api/v1", "pods"),
    ("v1", "Event"): ("/api/v1", "events"),
    ("v1", "PersistentVolumeClaim"): ("/api/v1", "persistentvolumeclaims"),
    ("batch/v1", "Job"): ("/apis/batch/v1", "jobs"),
    ("networking.k8s.io/v1", "NetworkPolicy"): ("/apis/networking.k8s.io/v1", "networkpolicies"),
    ("rbac.authorization.k8s.io/v1", "Role"): ("/apis/rbac.authorization.k8s.io/v1", "roles"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    ("coordination.k8s.io/v1", "Lease"): ("/apis/coordination.k8s.io/v1", "leases"),
    (API_VERSION, "FLJob"): (f"/apis/{GROUP}/{VERSION}", PLURAL),
}
API_VERSIONS = {kind: version for version, kind in _PATHS}


class ClusterError(Exception):
    """The API server said no, or nothing: `code` is the HTTP status, 0 without an answer; the message its words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def retriable(self) -> bool:
        """Whether the same call may succeed later. A schema error of an apply comes as 500, and never will."""
        return self.code in (0, 409, 429) or (self.code >= 500 and "failed to create typed patch" not in str(self))


class NameTakenError(ClusterError):
    """An object has the name that a child should have, and belongs to somebody else."""

    def __init__(self, kind: str, name: str) -> None:
        words = f"{kind} {name} exists and is not this FLJob's: delete it, or make the FLJob under another name"
        super().__init__(409, words)

    @property
    def retriable(self) -> bool:
        """The user's to mend."""
        return False


class ClusterClient(Protocol):
    """What the controller needs of a cluster; the tests' fake passes the same suite as the real one."""

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return an object, None where there is none."""

    async def find(self, kind: str, namespace: str, selector: str = "", fields: str = "") -> list[Manifest]:
        """Return all objects that match; namespace "" means all."""

    async def apply(self, manifest: Manifest, *, manager: str = names.FIELD_MANAGER) -> None:
        """Server-side apply, taking over conflicting fields."""

    async def create(self, manifest: Manifest) -> bool:
        """Create; False where it is there already."""

    async def delete(self, kind: str, namespace: str, name: str, uid: str = "") -> None:
        """Delete with what it owns, in the foreground; gone already, or another uid by now, is fine."""

    async def put(self, manifest: Manifest) -> Manifest:
        """Replace a whole object if it is still at the version it carries; 409 otherwise."""

    async def patch_status(self, namespace: str, name: str, resource_version: str, status: Manifest) -> None:
        """Replace an FLJob's status if it is still at this version; 409 otherwise."""


@dataclass
class RealCluster:
    """A real API server."""

    api: client.ApiClient
    timeout_s: float
    metrics: OperatorMetrics

    @classmethod
    async def connect(cls, kubeconfig: Path | None, timeout_s: float, metrics: OperatorMetrics) -> RealCluster:
        """Connect by kubeconfig, or by the pod's service account."""
        configuration = client.Configuration()
        if kubeconfig is not None:
            await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        else:
            config.load_incluster_config(client_configuration=configuration)
        return cls(client.ApiClient(configuration), timeout_s, metrics)

    async def close(self) -> None:
        """Close all connections."""
        await self.api.close()

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return an object, None where there is none."""
        try:
            return await self._call("GET", f"{_collection(kind, namespace)}/{name}")
        except ClusterError as error:
            if error.code == 404:
                return None
            raise

    async def find(self, kind: str, namespace: str, selector: str = "", fields: str = "") -> list[Manifest]:
        """Return all objects that match, page by page."""
        found: list[Manifest] = []
        token = ""
        while True:
            query = [("limit", str(PAGE)), ("labelSelector", selector), ("fieldSelector", fields), ("continue", token)]
            page = await self._call("GET", _collection(kind, namespace), query=[(k, v) for k, v in query if v])
            found += page.get("items", [])
            token = page.get("metadata", {}).get("continue", "")
            if not token:
                return found

    async def apply(self, manifest: Manifest, *, manager: str = names.FIELD_MANAGER) -> None:
        """Server-side apply, taking over conflicting fields."""
        meta = manifest["metadata"]
        path = f"{_collection(manifest['kind'], meta['namespace'])}/{meta['name']}"
        query = [("fieldManager", manager), ("force", "true")]
        await self._call("PATCH", path, manifest, query=query, content="application/apply-patch+yaml")
        self.metrics.applied(manifest["kind"])

    async def create(self, manifest: Manifest) -> bool:
        """Create; False where it is there already."""
        path = _collection(manifest["kind"], manifest["metadata"]["namespace"])
        try:
            await self._call("POST", path, manifest, query=[("fieldManager", names.FIELD_MANAGER)])
        except ClusterError as error:
            if error.code == 409 and "already exists" in str(error):
                return False
            raise
        self.metrics.applied(manifest["kind"])
        return True

    async def delete(self, kind: str, namespace: str, name: str, uid: str = "") -> None:
        """Delete with what it owns, in the foreground; gone already, or another uid by now, is fine."""
        body: Manifest = {"propagationPolicy": "Foreground"}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            await self._call("DELETE", f"{_collection(kind, namespace)}/{name}", body)
        except ClusterError as error:
            if error.code != 404 and not (error.code == 409 and "does not match the UID" in str(error)):
                raise

    async def patch_status(self, namespace: str, name: str, resource_version: str, status: Manifest) -> None:
        """Replace an FLJob's status if it is still at this version; 409 otherwise."""
        path = f"{_collection('FLJob', namespace)}/{name}/status"
        body = [
            # Not "test", whose failure would be 422: a version that is set and differs is a conflict.
            {"op": "replace", "path": "/metadata/resourceVersion", "value": resource_version},
            {"op": "add", "path": "/status", "value": status},
        ]
        await self._call("PATCH", path, body, content="application/json-patch+json")

    async def put(self, manifest: Manifest) -> Manifest:
        """Replace a whole object if it is still at the version it carries; 409 otherwise."""
        meta = manifest["metadata"]
        return await self._call("PUT", f"{_collection(manifest['kind'], meta['namespace'])}/{meta['name']}", manifest)

    async def _call(
        self,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401 - JSON
        *,
        query: list[tuple[str, str]] | None = None,
        content: str = "application/json",
    ) -> Manifest:
        headers = {"Accept": "application/json", "Content-Type": content}
        request = await self.api.param_serialize(
            method, path, query_params=query or [], header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        try:
            response = await self.api.call_api(*request, _request_timeout=self.timeout_s)
            text = await response.read()
        except (OSError, aiohttp.ClientError, client.ApiException) as error:
            self.metrics.requested(method, 0)
            raise ClusterError(0, f"{method} {path}: {type(error).__name__}: {error}") from error
        self.metrics.requested(method, response.status)
        if response.status >= 400:
            raise ClusterError(response.status, _words(text))
        value: Manifest = json.loads(text)
        return value


def _collection(kind: str, namespace: str) -> str:
    prefix, plural = _PATHS[API_VERSIONS[kind], kind]
    return f"{prefix}/namespaces/{namespace}/{plural}" if namespace else f"{prefix}/{plural}"


def _words(text: bytes) -> str:
    try:
        return str(json.loads(text).get("message", ""))[:1024]
    except ValueError:
        return text[:1024].decode("utf-8", "replace")
