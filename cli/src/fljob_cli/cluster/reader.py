"""A pod that lives for one read: mounts a claim read-only and streams a file or folder out as a tar.

Called by `fljob_cli.model`. The pod keeps to Pod Security `restricted`, has no API token, ends by itself, and is
deleted in any case.
"""

from __future__ import annotations

import secrets
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from kubernetes.stream import stream
from kubernetes.stream.ws_client import STDERR_CHANNEL, STDOUT_CHANNEL

from fljob_api import names
from fljob_api.exit_codes import ExitCode
from fljob_cli.cluster.api import REQUEST_S, Cluster, errors
from fljob_cli.errors import CliError

_LIFE_S = 900
_START_S = 120.0
_POLL_S = 0.5
_SILENT_S = 60.0
_USER = 65532
_MOUNT = "/model"
_IDLE = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit(0)); signal.pause()"
_TAR = (
    "import sys, tarfile\n"
    "with tarfile.open(fileobj=sys.stdout.buffer, mode='w|') as tar: tar.add(sys.argv[1], arcname='model')\n"
)


@dataclass(frozen=True)
class Volume:
    """A claim, and the folder in it that is mounted (empty: all of it)."""

    claim: str
    sub_path: str = ""


class Reader:
    """A context manager around the pod."""

    def __init__(self, cluster: Cluster, *, volume: Volume, image: str) -> None:
        self._cluster = cluster
        self._name = names.fit("fljob-model-reader", secrets.token_hex(4))
        self._manifest = pod_manifest(self._name, volume=volume, image=image)

    def __enter__(self) -> Self:
        with errors(f"reader pod {self._name}"):
            self._cluster.core.create_namespaced_pod(
                self._cluster.namespace, self._manifest, _request_timeout=REQUEST_S
            )
        try:
            self._wait_running()
        except BaseException:
            self._delete()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._delete()

    def fetch(self, path: str, folder: Path) -> Path:
        """Stream `path` (relative to the volume) into `folder` and return where it lies now."""
        archive = folder / "model.tar"
        command = ["python3", "-c", _TAR, f"{_MOUNT}/{path}"]
        with errors(f"reader pod {self._name}"), archive.open("wb") as file:
            words = self._exec(command, file)
        if words:
            raise CliError(f"{path}: cannot be read from the volume: {words}", code=ExitCode.CHECKPOINT_UNUSABLE)
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        fetched = folder / "model"
        return fetched.rename(folder / Path(path).name) if Path(path).name != "model.tar" else fetched

    def _exec(self, command: list[str], file: IO[bytes]) -> str:
        """Run a command in the pod, its output into the file; return its complaint, or nothing."""
        channel = stream(
            self._cluster.core.connect_get_namespaced_pod_exec,
            self._name,
            self._cluster.namespace,
            command=command,
            container=names.CONTAINER,
            stdout=True,
            stderr=True,
            stdin=False,
            tty=False,
            binary=True,
            _preload_content=False,
            _request_timeout=REQUEST_S,
        )
        complaint = b""
        heard = time.monotonic()
        try:
            while channel.is_open():
                channel.update(timeout=1)
                chunk = channel.read_channel(STDOUT_CHANNEL)
                complaint += channel.read_channel(STDERR_CHANNEL)
                file.write(chunk)
                heard = time.monotonic() if chunk else heard
                if time.monotonic() - heard > _SILENT_S:
                    raise CliError("the reader pod went silent", code=ExitCode.TEMPORARY)
            file.write(channel.read_channel(STDOUT_CHANNEL))
            complaint += channel.read_channel(STDERR_CHANNEL)
            failed = channel.returncode != 0
        finally:
            channel.close()
        text = complaint.decode("utf-8", "replace").strip()
        return (text.splitlines()[-1] if text else "the reader failed without a word") if failed else ""

    def _wait_running(self) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            with errors(f"reader pod {self._name}"):
                pod = self._cluster.core.read_namespaced_pod(
                    self._name, self._cluster.namespace, _request_timeout=REQUEST_S
                )
            if pod.status.phase == "Running":
                return
            trouble = _trouble(pod)
            if pod.status.phase in ("Failed", "Succeeded") or time.monotonic() > deadline:
                raise CliError(
                    f"the reader pod did not start in {_START_S:.0f} s: {trouble or pod.status.phase}",
                    code=ExitCode.TEMPORARY,
                    hint="a claim that only one node may mount is free again when the job's pods have ended",
                )
            time.sleep(_POLL_S)

    def _delete(self) -> None:
        with errors(f"reader pod {self._name}"):
            self._cluster.core.delete_namespaced_pod(
                self._name, self._cluster.namespace, grace_period_seconds=0, _request_timeout=REQUEST_S
            )


def _trouble(pod: Any) -> str:  # noqa: ANN401 - the client library has no types
    for status in pod.status.container_statuses or []:
        if status.state.waiting is not None:
            return f"{status.state.waiting.reason}: {status.state.waiting.message or ''}"
    for condition in pod.status.conditions or []:
        if condition.status == "False" and condition.message:
            return str(condition.message)
    return ""


def pod_manifest(name: str, *, volume: Volume, image: str) -> dict[str, Any]:
    """Return the pod: the claim read-only at one place, no rights, a bounded life."""
    mount = {"name": "model", "mountPath": _MOUNT, "readOnly": True}
    if volume.sub_path:
        mount["subPath"] = volume.sub_path
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "fljob-model-reader"}},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": _LIFE_S,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": names.CONTAINER,
                    "image": image,
                    "command": ["python3", "-c", _IDLE],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                    "volumeMounts": [mount],
                }
            ],
            "volumes": [{"name": "model", "persistentVolumeClaim": {"claimName": volume.claim, "readOnly": True}}],
        },
    }
