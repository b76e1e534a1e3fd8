"""`fljob logs`: the logs of a job's pods, by role or trainer. Called by `commands.cluster`."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fljob_api import names
from fljob_cli.cluster.api import REQUEST_S, Cluster, errors
from fljob_cli.errors import CliError

_ROLES = (names.ROLE_COORDINATOR, names.ROLE_SERVER, names.ROLE_TRAINER)
_SILENT_S = 3600.0


@dataclass(frozen=True)
class Selection:
    """Which pods of a job."""

    job: str
    role: str | None = None
    trainer: str | None = None

    def labels(self) -> dict[str, str]:
        """Return the labels that these pods carry; raises CliError for an unknown role."""
        role = self.role or (names.ROLE_TRAINER if self.trainer else names.ROLE_COORDINATOR)
        if role not in _ROLES:
            raise CliError(f"--role {role}: there is no such role", hint=f"roles: {', '.join(_ROLES)}")
        labels = {names.LABEL_JOB: self.job, names.LABEL_ROLE: role}
        return labels | ({names.LABEL_TRAINER: self.trainer} if self.trainer else {})


def print_logs(cluster: Cluster, selection: Selection, *, follow: bool, tail: int) -> None:
    """Print the end of each pod's log; with `follow` stay for new lines until the pods end."""
    pods = cluster.pods(selection.labels())
    if not pods:
        cluster.get(selection.job)
        raise CliError(
            f"no pods of {selection.job} match {selection.labels()}",
            hint="pods go when the job has ended (cleanPodPolicy) or is suspended; "
            f"`fljob status {selection.job}` keeps the reason",
        )
    pods.sort(key=lambda pod: (pod.metadata.name, pod.metadata.creation_timestamp))
    prefixes = len(pods) > 1
    if follow:
        _follow(cluster, pods, tail=tail, prefixes=prefixes)
        return
    for pod in pods:
        for line in _lines(cluster, pod, follow=False, tail=tail):
            _print(pod.metadata.name if prefixes else "", line)


def _follow(cluster: Cluster, pods: list[Any], *, tail: int, prefixes: bool) -> None:
    """Print lines of several pods as they come; one thread per pod, all of them end with their pod."""
    lines: queue.Queue[tuple[str, str | None]] = queue.Queue(maxsize=1000)

    def pump(pod: Any) -> None:  # noqa: ANN401 - the client library has no types
        try:
            for line in _lines(cluster, pod, follow=True, tail=tail):
                lines.put((pod.metadata.name, line))
        except CliError as error:
            lines.put((pod.metadata.name, f"({error})"))
        finally:
            lines.put((pod.metadata.name, None))

    for pod in pods:
        threading.Thread(target=pump, args=(pod,), name=f"log {pod.metadata.name}", daemon=True).start()
    open_pods = len(pods)
    while open_pods:
        name, line = lines.get(timeout=_SILENT_S)
        if line is None:
            open_pods -= 1
        else:
            _print(name if prefixes else "", line)


def _lines(cluster: Cluster, pod: Any, *, follow: bool, tail: int) -> Iterator[str]:  # noqa: ANN401
    if not (pod.status.container_statuses and _started(pod)):
        yield f"(no log: the pod is {pod.status.phase})"
        return
    with errors(f"log of {pod.metadata.name}"):
        response = cluster.core.read_namespaced_pod_log(
            pod.metadata.name,
            cluster.namespace,
            container=names.CONTAINER,
            follow=follow,
            tail_lines=tail,
            _preload_content=False,
            _request_timeout=(REQUEST_S, _SILENT_S),
        )
        rest = b""
        for chunk in response.stream():
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in whole)
        if rest:
            yield rest.decode("utf-8", "replace")


def _started(pod: Any) -> bool:  # noqa: ANN401 - the client library has no types
    state = pod.status.container_statuses[0].state
    return bool(state.running or state.terminated or pod.status.container_statuses[0].restart_count)


def _print(name: str, line: str) -> None:
    sys.stdout.write(f"{name}: {line}\n" if name else f"{line}\n")
    sys.stdout.flush()
