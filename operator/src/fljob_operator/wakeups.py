"""kopf as a doorbell: watches FLJobs, our Jobs, Pods and progress objects, and puts keys into the queue.

The only module that imports kopf. It runs in a thread with a loop of its own (in ours it would take over the signals
and cancel our tasks); keys cross by call_soon_threadsafe. Handlers return None: a returned value would be patched
into the object. No timers or daemons: they would add a finalizer. See docs/decisions/011.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kopf
from kubernetes.aio import client, config

from fljob_api import GROUP, PLURAL, VERSION, names
from fljob_operator.settings import Settings

log = logging.getLogger(__name__)
SELECTOR = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY},{names.LABEL_JOB}"
CHILDREN = (
    ("batch", "v1", "jobs"),
    ("", "v1", "pods"),
    ("", "v1", "services"),
    ("", "v1", "serviceaccounts"),
    ("networking.k8s.io", "v1", "networkpolicies"),
    ("rbac.authorization.k8s.io", "v1", "roles"),
    ("rbac.authorization.k8s.io", "v1", "rolebindings"),
)
Wake = Callable[[str, bool], None]


class Wakeups:
    """kopf in its thread. `wake(key, urgent)` is called on the given loop; `failed` is set if kopf gives up."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop, wake: Wake) -> None:
        self._settings, self._loop, self._wake = settings, loop, wake
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self.failed = asyncio.Event()

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; waits a few seconds at most."""
        self._stop.set()
        self._thread.join(timeout=8.0)

    def _run(self) -> None:
        try:
            asyncio.run(
                kopf.operator(
                    registry=self._registry(),
                    settings=_kopf_settings(),
                    clusterwide=not self._settings.watch_namespaces,
                    namespaces=list(self._settings.watch_namespaces),
                    stop_flag=self._stop,
                    identity=self._settings.identity,  # else it asks for the user's name, which a pod's uid has not
                )
            )
        except Exception:
            log.exception("kopf gave up watching")
        if not self._stop.is_set():
            self._loop.call_soon_threadsafe(self.failed.set)

    def _ring(self, namespace: str | None, name: str | None, *, urgent: bool) -> None:
        if namespace and name:
            self._loop.call_soon_threadsafe(self._wake, f"{namespace}/{name}", urgent)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        async def login(**_: Any) -> kopf.ConnectionInfo:  # noqa: ANN401 - kopf's signature
            return await _connection(self._settings.kubeconfig)

        async def on_job(namespace: str | None, name: str | None, **_: Any) -> None:  # noqa: ANN401
            self._ring(namespace, name, urgent=True)

        async def on_child(namespace: str | None, labels: kopf.Labels, **_: Any) -> None:  # noqa: ANN401
            self._ring(namespace, labels.get(names.LABEL_JOB), urgent=True)

        async def on_progress(namespace: str | None, labels: kopf.Labels, body: kopf.Body, **_: Any) -> None:  # noqa: ANN401
            text = str(body.get("data") or {})
            self._ring(namespace, labels.get(names.LABEL_JOB), urgent='"finish"' in text or not text)

        kopf.on.login(registry=registry)(login)
        kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(on_job)
        for group, version, plural in CHILDREN:
            kopf.on.event(group, version, plural, registry=registry)(on_child)
        kopf.on.event("", "v1", "configmaps", registry=registry)(on_progress)
        return registry


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.watching.inactivity_timeout = 45.0
    settings.watching.connect_timeout = 5.0
    settings.watching.reconnect_backoff = 1.0
    settings.networking.connect_timeout = 5.0
    settings.networking.request_timeout = 15.0
    settings.networking.error_backoffs = (1, 1, 2, 3, 5)
    selectors: Any = settings.watching.label_selectors
    for resource in (*CHILDREN, ("", "v1", "configmaps")):
        selectors[resource] = SELECTOR  # filtered by the server: foreign objects cost this process nothing
    return settings


async def _connection(kubeconfig: Path | None) -> kopf.ConnectionInfo:
    """Return how to reach the API server; called again after a 401, so that a rotated token is read anew."""
    configuration = client.Configuration()
    if kubeconfig is not None:
        await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    else:
        config.load_incluster_config(client_configuration=configuration)
    token = await configuration.get_api_key_with_prefix("BearerToken") if configuration.api_key else None
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        token=token.removeprefix("Bearer ").removeprefix("bearer ") if token else None,
    )
