"""The API server as the command line sees it: FLJobs, the pods of a job, claims.

Called by the other modules here and by `fljob_cli.model`. Every request has a timeout, and every refusal becomes a
CliError that says what to do. Holds no text of tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import urllib3.exceptions
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from fljob_api import GROUP, PLURAL, VERSION
from fljob_api.exit_codes import ExitCode
from fljob_cli.errors import CliError

REQUEST_S = 15.0
WATCH_S = 60
FIELD_MANAGER = "fljob"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_NO_CLUSTER = "`fljob run FILE` needs no cluster; to reach one set KUBECONFIG, --kubeconfig or --context"
_HINTS = {
    401: "the credentials of the kubeconfig are not accepted: log in again",
    403: "ask for the right to do this, or give another --namespace or --context",
    404: "`fljob list -A` shows all FLJobs; without the CRD, install the chart: helm install fljob charts/fljob",
    409: "somebody changed it at the same time: try again",
}

Object = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """One connection and the namespace that commands work in."""

    namespace: str
    client: Any

    @property
    def core(self) -> Any:  # noqa: ANN401 - the client library has no types
        """Return the API of pods and claims."""
        return client.CoreV1Api(self.client)

    @property
    def _custom(self) -> Any:  # noqa: ANN401 - the client library has no types
        return client.CustomObjectsApi(self.client)

    @property
    def _place(self) -> tuple[str, str, str, str]:
        return (GROUP, VERSION, self.namespace, PLURAL)

    def within(self, namespace: str) -> Cluster:
        """Return the same connection for another namespace."""
        return replace(self, namespace=namespace)

    def get(self, name: str) -> Object:
        """Return one FLJob."""
        with errors(f"FLJob {self.namespace}/{name}"):
            found: Object = self._custom.get_namespaced_custom_object(*self._place, name, _request_timeout=REQUEST_S)
        return found

    def find(self, name: str) -> Object | None:
        """Return one FLJob, or None when there is none of that name."""
        try:
            return self.get(name)
        except CliError as error:
            if isinstance(error.__cause__, ApiException) and error.__cause__.status == 404:
                return None
            raise

    def jobs(self, *, all_namespaces: bool) -> list[Object]:
        """Return the FLJobs of the namespace, or of all."""
        with errors("FLJobs"):
            if all_namespaces:
                found = self._custom.list_cluster_custom_object(GROUP, VERSION, PLURAL, _request_timeout=REQUEST_S)
            else:
                found = self._custom.list_namespaced_custom_object(*self._place, _request_timeout=REQUEST_S)
        items: list[Object] = found["items"]
        return items

    def apply(self, manifest: Object) -> None:
        """Create or change an FLJob by server-side apply."""
        name = manifest["metadata"]["name"]
        with errors(f"FLJob {self.namespace}/{name}"):
            self._custom.patch_namespaced_custom_object(
                *self._place,
                name,
                manifest,
                field_manager=FIELD_MANAGER,
                force=True,
                _content_type=_APPLY,
                _request_timeout=REQUEST_S,
            )

    def merge(self, name: str, change: Object) -> None:
        """Change some fields of an FLJob."""
        with errors(f"FLJob {self.namespace}/{name}"):
            self._custom.patch_namespaced_custom_object(
                *self._place, name, change, _content_type=_MERGE, _request_timeout=REQUEST_S
            )

    def delete(self, name: str) -> None:
        """Delete an FLJob; what it owns goes with it."""
        with errors(f"FLJob {self.namespace}/{name}"):
            self._custom.delete_namespaced_custom_object(
                *self._place, name, propagation_policy="Background", _request_timeout=REQUEST_S
            )

    def follow(self, name: str) -> Iterator[Object | None]:
        """Yield an FLJob now and after every change; None when nothing changed for a while or it is gone."""
        while True:
            with errors(f"FLJob {self.namespace}/{name}"):
                for event in self._events(name):
                    if event["type"] == "DELETED":
                        return
                    yield event["object"]
            yield None

    def _events(self, name: str) -> Iterator[Object]:
        stream = watch.Watch().stream(
            self._custom.list_namespaced_custom_object,
            *self._place,
            field_selector=f"metadata.name={name}",
            timeout_seconds=WATCH_S,
            _request_timeout=WATCH_S + REQUEST_S,
        )
        try:
            yield from stream
        except ApiException as error:
            if error.status != 410:
                raise

    def pods(self, labels: Mapping[str, str]) -> list[Any]:
        """Return the pods that carry all these labels."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        with errors(f"pods in {self.namespace}"):
            found = self.core.list_namespaced_pod(self.namespace, label_selector=selector, _request_timeout=REQUEST_S)
        items: list[Any] = found.items
        return items


def connect(namespace: str | None, *, context: str | None, kubeconfig: Path | None) -> Cluster:
    """Connect as kubectl would; raises CliError when there is no cluster to connect to."""
    path = None if kubeconfig is None else str(kubeconfig)
    try:
        _, active = config.list_kube_config_contexts(config_file=path)
        chosen = _context(path, context) if context else active
        api_client = config.new_client_from_config(config_file=path, context=context)
        default = chosen.get("context", {}).get("namespace") or "default"
    except ConfigException as error:
        inside = _inside_a_pod() if kubeconfig is None and context is None else None
        if inside is None:
            raise CliError(f"no cluster: {error}", hint=_NO_CLUSTER) from error
        api_client, default = inside
    return Cluster(namespace or default, api_client)


def _context(path: str | None, name: str) -> Object:
    contexts, _ = config.list_kube_config_contexts(config_file=path)
    for context in contexts:
        if context["name"] == name:
            found: Object = context
            return found
    known = ", ".join(context["name"] for context in contexts)
    raise CliError(f"--context {name}: the kubeconfig has no such context", hint=f"it has: {known}")


def _inside_a_pod() -> tuple[Any, str] | None:
    settings = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)
    except ConfigException:
        return None
    namespace = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    return client.ApiClient(settings), namespace.read_text(encoding="utf-8").strip()


@contextmanager
def errors(what: str) -> Iterator[None]:
    """Turn refusals and broken connections into words about `what`."""
    try:
        yield
    except ApiException as error:
        code = ExitCode.TEMPORARY if error.status in (409, 429, 500, 503) else ExitCode.BAD_CONFIG
        message = f"{what}: {_words(error)}"
        raise CliError(message, code=code, hint=_HINTS.get(error.status, "")) from error
    except urllib3.exceptions.HTTPError as error:
        raise CliError(f"the API server does not answer: {error}", code=ExitCode.TEMPORARY, hint=_NO_CLUSTER) from error


def _words(error: ApiException) -> str:
    """Return the API server's own words, one fault a line."""
    try:
        status = json.loads(error.body or "")
    except ValueError:
        return f"{error.status} {error.reason}"
    causes = (status.get("details") or {}).get("causes") or []
    if not causes:
        return str(status.get("message", error.reason))
    return "refused" + "".join(f"\n  {cause.get('field')}: {cause.get('message')}" for cause in causes)
