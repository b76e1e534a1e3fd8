"""A real etcd and kube-apiserver, up in about three seconds, for tests that need no kubelet; controllers on demand.

Also the lower half of the whole one-node cluster (support.cluster).
"""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.assets import binary
from support.certificates import Authority
from support.processes import Process, free_port, wait_until

SERVICE_CIDR = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
CRD = Path(__file__).parents[2] / "crds/fljob.dev_fljobs.yaml"
CONTROLLERS = ("garbage-collector-controller", "job-controller")


def write_kubeconfig(path: Path, url: str, authority: Authority, client: tuple[Path, Path] | str) -> Path:
    """Write a kubeconfig for a client certificate and its key, or for a token."""
    if isinstance(client, str):
        user = {"token": client}
    else:
        user = {"client-certificate": str(client[0]), "client-key": str(client[1])}
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(authority.ca)}}],
        "users": [{"name": "test", "user": user}],
    }
    path.write_text(json.dumps(config))
    return path


@dataclass
class ControlPlane:
    """etcd and kube-apiserver of one test session; `stop()` ends both and removes their folder."""

    folder: Path
    authority: Authority
    url: str
    kubeconfig: Path
    processes: list[Process] = field(default_factory=list)
    _apiserver: list[str] = field(default_factory=list)

    @classmethod
    def start(
        cls, folder: Path | None = None, *, address: str = "127.0.0.1", flags: Sequence[str] = ()
    ) -> ControlPlane:
        """Start both; `address` is what the API server advertises (a bridge's, when pods must reach it)."""
        folder = folder or Path(tempfile.mkdtemp(prefix="fljob-controlplane-"))
        authority = Authority.make(folder / "pki")
        port = free_port()
        url = f"https://{address}:{port}"
        admin = authority.issue("admin", "test-admin", "system:masters")
        plane = cls(folder, authority, url, write_kubeconfig(folder / "admin.kubeconfig", url, authority, admin))
        try:
            etcd_url = plane._start_etcd()
            plane._apiserver = plane._apiserver_command(etcd_url, address, port, flags)
            plane.start_apiserver()
        except BaseException:
            plane.stop()
            raise
        return plane

    def _start_etcd(self) -> str:
        client, peer = free_port(), free_port()
        etcd = [
            str(binary("etcd")),
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls=http://127.0.0.1:{client}",
            f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
        ]
        self.processes.append(Process.start("etcd", etcd, self.folder))
        return f"http://127.0.0.1:{client}"

    def _apiserver_command(self, etcd_url: str, address: str, port: int, flags: Sequence[str]) -> list[str]:
        pki = self.authority
        hosts = ("localhost", "127.0.0.1", address, SERVICE_ADDRESS, "kubernetes.default.svc")
        crt, key = pki.issue("apiserver", "kube-apiserver", hosts=hosts)
        kubelet_crt, kubelet_key = pki.issue("apiserver-kubelet", "kube-apiserver", "system:masters")
        signer = pki.service_account_key()
        return [
            str(binary("kube-apiserver")),
            f"--etcd-servers={etcd_url}",
            f"--secure-port={port}",
            f"--advertise-address={address}",
            f"--cert-dir={self.folder / 'certs'}",
            f"--tls-cert-file={crt}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={pki.ca}",
            f"--kubelet-client-certificate={kubelet_crt}",
            f"--kubelet-client-key={kubelet_key}",
            f"--service-account-key-file={signer}",
            f"--service-account-signing-key-file={signer}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",  # no DNS here knows the node's name: logs and exec
            *flags,
        ]

    def start_apiserver(self) -> None:
        """Start the API server, at its address of before where it was stopped, and wait until it is ready."""
        self.processes.append(Process.start("kube-apiserver", self._apiserver, self.folder))
        wait_until("the API server to be ready", self._ready, 60, *self.processes)

    def stop_apiserver(self) -> None:
        """Stop the API server; etcd keeps what it stored."""
        (process,) = (p for p in self.processes if p.name == "kube-apiserver")
        process.stop()
        self.processes.remove(process)

    def with_controllers(self) -> ControlPlane:
        """Run the garbage collector and the Job controller, if they do not run yet, and install the CRD."""
        if not any(p.name == "kube-controller-manager" for p in self.processes):
            command = [
                str(binary("kube-controller-manager")),
                f"--kubeconfig={self.kubeconfig}",
                f"--controllers={','.join(CONTROLLERS)}",
                "--leader-elect=false",
                "--secure-port=0",
            ]
            self.processes.append(Process.start("kube-controller-manager", command, self.folder))
            self.kubectl("apply", "--server-side", "-f", str(CRD))
            listing = ("get", "--raw", "/apis/fljob.dev/v1alpha1/fljobs")
            wait_until("FLJobs to be served", lambda: "items" in self.kubectl(*listing, check=False), 30)
        return self

    def service_account(self, namespace: str, name: str) -> Path:
        """Make a ServiceAccount, without any right yet, and return a kubeconfig with its token."""
        self.kubectl("create", "serviceaccount", name, "-n", namespace)
        token = self.kubectl("create", "token", name, "-n", namespace).strip()
        return write_kubeconfig(self.folder / f"{namespace}-{name}.kubeconfig", self.url, self.authority, token)

    def _ready(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.authority.ca))
        context.load_cert_chain(self.authority.folder / "admin.crt", self.authority.folder / "admin.key")
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", context=context, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl as the administrator and return its output; raises RuntimeError with its words."""
        return run_kubectl(self.kubeconfig, *arguments, stdin=stdin, check=check)

    def stop(self) -> None:
        """End both programs and remove the folder."""
        for process in reversed(self.processes):
            process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def run_kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """Run kubectl with a kubeconfig; raises RuntimeError with its words unless `check` is False."""
    command = ["kubectl", f"--kubeconfig={kubeconfig}", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)
    if check and done.returncode:
        raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
