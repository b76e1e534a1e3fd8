"""A real one-node Kubernetes for tests, from nothing to Ready in seconds; root on Linux.

    python -m support.cluster up|down|env     (from tests/) keeps one running while developing

With FLJOB_TEST_CLUSTER_REUSE=1 the tests use that one; otherwise the session starts its own and removes it. One runs at
a time: bridge, addresses and kube-proxy's rules are the machine's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import node
from support.assets import CACHE
from support.controlplane import ControlPlane, run_kubectl
from support.processes import Process, wait_until

STATE = CACHE / "cluster.json"
VOLUME_LABEL = "fljob.test/namespace"
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}


@dataclass
class Cluster:
    """A running cluster, however it was started."""

    kubeconfig: Path
    registry: str
    folder: Path

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl as the administrator."""
        return run_kubectl(self.kubeconfig, *arguments, stdin=stdin, check=check)

    def apply(self, manifests: str, namespace: str = "default") -> None:
        """Apply YAML or JSON text."""
        self.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifests)

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any] | None:
        """Return an object, None where there is none."""
        text = self.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def items(self, kind: str, namespace: str = "default", selector: str = "") -> list[dict[str, Any]]:
        """Return the objects of a kind."""
        extra = ("-l", selector) if selector else ()
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-n", namespace, "-o", "json", *extra))[
            "items"
        ]
        return found

    def wait_for(self, what: str, ready: Callable[[], bool], deadline_s: float, every_s: float = 0.3) -> None:
        """Wait until `ready()`; raises TimeoutError with the name of the wait and the cluster's pods."""
        end = time.monotonic() + deadline_s
        while not ready():
            if time.monotonic() > end:
                pods = self.kubectl("get", "flj,pods", "-A", "-o", "wide", check=False)
                events = self.kubectl("get", "events", "-A", "--sort-by=.lastTimestamp", check=False)
                tail = "\n".join(events.splitlines()[-25:])
                raise TimeoutError(f"{what}: not within {deadline_s:.0f} s\n{pods}\n{tail}")
            time.sleep(every_s)

    def make_namespace(self, name: str) -> None:
        """Make a namespace that enforces Pod Security `restricted`, when a former one of its name is gone."""
        self.wait_for(f"the former namespace {name} to be gone", lambda: not self._is_going(name), 90)
        labels = "\n".join(f"    {key}: {value}" for key, value in RESTRICTED.items())
        self.apply(f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n{labels}\n")

    @contextlib.contextmanager
    def namespace(self, name: str) -> Iterator[str]:
        """Make such a namespace for a while; at the end it goes, with its claims' volumes, while other tests go on."""
        self.make_namespace(name)
        try:
            yield name
        finally:
            # A volume that is left would stay bound to the old claim, and a new one of that name would wait for ever.
            volumes = ("persistentvolume", "-l", f"{VOLUME_LABEL}={name}")
            for going in (("namespace", name), volumes):
                self.kubectl("delete", *going, "--wait=false", check=False)
            shutil.rmtree(self.folder / "volumes" / name, ignore_errors=True)

    def _is_going(self, name: str) -> bool:
        namespace, volumes = self.get("namespace", name), self.items("pv", selector=f"{VOLUME_LABEL}={name}")
        return any("deletionTimestamp" in item["metadata"] for item in (*([namespace] if namespace else []), *volumes))

    def claim(self, namespace: str, name: str, content: Path | None = None) -> Path:
        """Make a bound claim on a folder of this machine, holding a copy of `content`; returns the folder.

        The volume is the administrator's (hostPath); the pod sees a claim only, which `restricted` allows.
        """
        folder = self.folder / "volumes" / namespace / name
        folder.mkdir(parents=True, exist_ok=True)
        if content is not None:
            shutil.copytree(content, folder, dirs_exist_ok=True)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)
        size = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{namespace}-{name}", "labels": {VOLUME_LABEL: namespace}},
            "spec": {
                **size,
                "storageClassName": "",
                "hostPath": {"path": str(folder)},
                "claimRef": {"namespace": namespace, "name": name},
            },
        }
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "storageClassName": "",
                "volumeName": f"{namespace}-{name}",
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
        self.apply(json.dumps(volume))
        self.apply(json.dumps(claim), namespace)
        return folder


@dataclass
class OwnCluster:
    """A cluster that this process started."""

    folder: node.NodeFolder
    plane: ControlPlane | None = None
    processes: list[Process] = field(default_factory=list)
    registry: str = ""

    @classmethod
    def start(cls) -> OwnCluster:
        """Start everything; returns when the node is Ready. On failure nothing is left running.

        Raises RuntimeError if `up` keeps one: a second would take its bridge away.
        """
        if running():
            raise RuntimeError(
                "a test cluster runs already: set FLJOB_TEST_CLUSTER_REUSE=1 to use it, or end it with "
                "`python -m support.cluster down` in tests/"
            )
        own = cls(node.NodeFolder(Path(tempfile.mkdtemp(prefix="fljob-cluster-"))))
        try:
            own._start()
        except BaseException:
            own.stop()
            raise
        return own

    def _start(self) -> None:
        node.make_bridge()
        registry, self.registry = node.start_registry(self.folder)
        self.processes.append(registry)
        self.plane = ControlPlane.start(self.folder.sub("controlplane"), address=node.BRIDGE_ADDRESS)
        authority, url = self.plane.authority, self.plane.url
        self.processes.append(node.start_containerd(self.folder, self.registry))
        self.processes += node.start_controllers(self.folder, authority, url)
        self.processes.append(node.start_kubelet(self.folder, authority, url))
        self.processes.append(node.start_proxy(self.folder, authority, url))
        self.processes.append(node.start_dns(self.folder, authority, url))
        wait_until("the node to be Ready", self._node_ready, 90, *self.processes)
        node.favour_pods()

    def _node_ready(self) -> bool:
        if self.plane is None:
            return False
        path = '-o=jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'
        accounts = self.plane.kubectl("get", "serviceaccount", "default", check=False)
        return self.plane.kubectl("get", "nodes", path, check=False) == "True" and "default" in accounts

    def cluster(self) -> Cluster:
        """Return the handle for tests."""
        if self.plane is None:
            raise RuntimeError("the cluster is not running")
        return Cluster(self.plane.kubeconfig, self.registry, self.folder.root)

    def stop(self) -> None:
        """Stop and remove everything: kubelet first, so that it makes nothing anew."""
        by_name = {process.name: process for process in self.processes}
        if "kubelet" in by_name:
            by_name.pop("kubelet").stop()
        if "containerd" in by_name:
            node.kill_pods(self.folder)
        for process in reversed(list(by_name.values())):
            process.stop()
        if self.plane:
            self.plane.stop()
        node.remove_bridge()
        node.remove(self.folder.root)


def running() -> Cluster | None:
    """Return the cluster that `up` started, if it still runs."""
    if not STATE.exists():
        return None
    state = json.loads(STATE.read_text())
    if not Path(f"/proc/{state['pid']}").exists():
        return None
    return Cluster(Path(state["kubeconfig"]), state["registry"], Path(state["folder"]))


def given() -> Cluster | None:
    """Return the cluster to use without starting one, None where there is none.

    That is the one kept by `up` (FLJOB_TEST_CLUSTER_REUSE=1, or KUBECONFIG names it), or a foreign one of one node on
    this machine: KUBECONFIG, and FLJOB_TEST_REGISTRY (host:port) that it pulls images from.
    """
    kept, kubeconfig = running(), os.environ.get("KUBECONFIG", "")
    if kept and (os.environ.get("FLJOB_TEST_CLUSTER_REUSE") == "1" or kubeconfig == str(kept.kubeconfig)):
        return kept
    registry = os.environ.get("FLJOB_TEST_REGISTRY", "")
    return Cluster(Path(kubeconfig), registry, CACHE / "given") if kubeconfig and registry else None


def _up() -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    present = running()
    if present:
        sys.stdout.write(f"running: export KUBECONFIG={present.kubeconfig}\n")
        return
    pid = os.fork()
    if pid:
        wait_until("the cluster", lambda: running() is not None or _ended(pid), 120)
        found = running()
        sys.stdout.write(
            f"export KUBECONFIG={found.kubeconfig}\n" if found else f"failed; see {CACHE / 'cluster.log'}\n"
        )
        sys.exit(0 if found else 1)
    os.setsid()
    quiet = os.open(CACHE / "cluster.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)  # else a pipe that the caller reads from would stay open
    own = OwnCluster.start()
    handle = own.cluster()
    state = {
        "pid": os.getpid(),
        "kubeconfig": str(handle.kubeconfig),
        "registry": handle.registry,
        "folder": str(handle.folder),
    }
    STATE.write_text(json.dumps(state))
    try:
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    finally:
        STATE.unlink(missing_ok=True)
        own.stop()


def _ended(pid: int) -> bool:
    done, _ = os.waitpid(pid, os.WNOHANG)
    return done != 0


def _down() -> None:
    if running():
        pid = json.loads(STATE.read_text())["pid"]
        os.kill(pid, signal.SIGTERM)
        wait_until("the cluster to stop", lambda: not Path(f"/proc/{pid}").exists(), 60)


def main() -> None:
    """Keep a cluster running while developing."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command == "up":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        _up()
    elif command == "down":
        _down()
    elif command == "env":
        present = running()
        sys.stdout.write(f"export KUBECONFIG={present.kubeconfig}\n" if present else "")
    else:
        sys.exit("usage: python -m support.cluster up|down|env")


if __name__ == "__main__":
    main()
