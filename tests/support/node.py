"""The lower half of a one-node cluster: containerd, CNI, kubelet, kube-proxy, DNS. Root on Linux only.

Everything lies in one folder and is started as a child process, so that it can be stopped and removed without a trace.
Settings follow docs/development.md, "Tests on a real Kubernetes"; each was needed on a plain virtual machine.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from support.assets import binary
from support.certificates import Authority
from support.controlplane import SERVICE_CIDR, write_kubeconfig
from support.processes import Process, free_port, wait_until

BRIDGE = "fljob0"
BRIDGE_ADDRESS = "10.244.0.1"
POD_CIDR = "10.244.0.0/24"
CLUSTER_CIDR = "10.244.0.0/16"
NODE = "fljob-test"
PAUSE = "fljob.test/pause:1"
_PAUSE_SOURCE = "#include <unistd.h>\n#include <signal.h>\nint main(void){signal(SIGTERM,_exit);for(;;)pause();}\n"


@dataclass(frozen=True)
class NodeFolder:
    """Where the node keeps what."""

    root: Path

    @property
    def socket(self) -> Path:
        """Return containerd's socket."""
        return self.root / "containerd.sock"

    def sub(self, name: str) -> Path:
        """Return a folder, made if absent."""
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path


def run(*command: str, check: bool = True) -> str:
    """Run a system command; raises RuntimeError with its words."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def make_bridge() -> None:
    """Make the bridge that pods hang on; it is there before the API server, which advertises its address."""
    run("ip", "link", "del", BRIDGE, check=False)
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "addr", "add", f"{BRIDGE_ADDRESS}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def remove_bridge() -> None:
    """Remove the bridge and what kube-proxy left in nftables."""
    run("ip", "link", "del", BRIDGE, check=False)
    run("nft", "delete", "table", "ip", "kube-proxy", check=False)
    run("nft", "delete", "table", "ip6", "kube-proxy", check=False)


def start_containerd(folder: NodeFolder, registry: str) -> Process:
    """Start containerd with its own root, state and socket, pulling `registry` over plain HTTP."""
    _write_cni(folder)
    hosts = folder.sub("certs.d") / registry
    hosts.mkdir(parents=True, exist_ok=True)
    (hosts / "hosts.toml").write_text(f'server = "http://{registry}"\n[host."http://{registry}"]\n')
    config = folder.root / "containerd.toml"
    config.write_text(
        f"""version = 2
root = "{folder.sub("containerd")}"
state = "{folder.sub("containerd-state")}"
[grpc]
  address = "{folder.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder.sub("containerd-opt")}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder.sub("cni")}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{folder.sub("certs.d")}"
"""
    )
    process = Process.start("containerd", ["containerd", "--config", str(config)], folder.root)
    wait_until("containerd's socket", folder.socket.exists, 20, process)
    wait_until("containerd to answer", lambda: bool(ctr(folder, "version", check=False)), 20, process)
    _import_pause(folder)
    return process


def ctr(folder: NodeFolder, *arguments: str, check: bool = True) -> str:
    """Run ctr in the namespace of Kubernetes."""
    return run("ctr", "--address", str(folder.socket), "--namespace", "k8s.io", *arguments, check=check)


def _write_cni(folder: NodeFolder) -> None:
    plugins = [
        {
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": True,
            "ipMasq": False,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(folder.sub("ipam")),
                "ranges": [[{"subnet": POD_CIDR}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    conflist = {"cniVersion": "0.4.0", "name": "fljob-test", "plugins": plugins}
    (folder.sub("cni") / "10-fljob.conflist").write_text(json.dumps(conflist))


def _import_pause(folder: NodeFolder) -> None:
    """Build a static program that does nothing, wrap it as an image and import it."""
    work = folder.sub("pause")
    (work / "pause.c").write_text(_PAUSE_SOURCE)
    run("gcc", "-static", "-Os", "-o", str(work / "pause"), str(work / "pause.c"))
    layer = work / "layer.tar"
    with tarfile.open(layer, "w") as tar:
        tar.add(work / "pause", "pause")
    digest = "sha256:" + run("sha256sum", str(layer)).split()[0]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }
    (work / "config.json").write_text(json.dumps(config))
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]
    (work / "manifest.json").write_text(json.dumps(manifest))
    with tarfile.open(work / "image.tar", "w") as tar:
        for name in ("manifest.json", "config.json", "layer.tar"):
            tar.add(work / name, name)
    ctr(folder, "images", "import", str(work / "image.tar"))


def start_kubelet(folder: NodeFolder, authority: Authority, url: str) -> Process:
    """Start the kubelet and return it; the node is Ready a little later."""
    crt, key = authority.issue("kubelet", f"system:node:{NODE}", "system:nodes", hosts=(NODE, BRIDGE_ADDRESS))
    kubeconfig = write_kubeconfig(folder.root / "kubelet.kubeconfig", url, authority, (crt, key))
    path = folder.root / "kubelet.json"
    path.write_text(json.dumps(_kubelet_config(folder, authority, crt, key)))
    command = [
        str(binary("kubelet")),
        f"--config={path}",
        f"--kubeconfig={kubeconfig}",
        f"--root-dir={folder.sub('kubelet')}",
        f"--cert-dir={folder.sub('kubelet-certs')}",
        f"--hostname-override={NODE}",
        f"--node-ip={BRIDGE_ADDRESS}",
    ]
    return Process.start("kubelet", command, folder.root)


def _kubelet_config(folder: NodeFolder, authority: Authority, crt: Path, key: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": BRIDGE_ADDRESS,
        "port": free_port(),
        "healthzPort": 0,
        "readOnlyPort": 0,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/",
        "failSwapOn": False,
        "failCgroupV1": False,
        "localStorageCapacityIsolation": False,
        "containerRuntimeEndpoint": f"unix://{folder.socket}",
        "clusterDNS": [BRIDGE_ADDRESS],
        "clusterDomain": "cluster.local",
        "podLogsDir": str(folder.sub("pod-logs")),
        "resolvConf": str(_resolv_conf(folder)),
        "authentication": {
            "x509": {"clientCAFile": str(authority.ca)},
            "webhook": {"enabled": True},
            "anonymous": {"enabled": False},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(crt),
        "tlsPrivateKeyFile": str(key),
        "evictionHard": {"memory.available": "1%", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "5s",
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": False,
        "maxPods": 200,
    }


def _resolv_conf(folder: NodeFolder) -> Path:
    path = folder.root / "resolv.conf"
    path.write_text("nameserver 127.0.0.1\n")
    return path


def start_proxy(folder: NodeFolder, authority: Authority, url: str) -> Process:
    """Start kube-proxy in nftables mode."""
    crt, key = authority.issue("proxy", "system:kube-proxy")
    kubeconfig = write_kubeconfig(folder.root / "proxy.kubeconfig", url, authority, (crt, key))
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": CLUSTER_CIDR,
        "hostnameOverride": NODE,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "conntrack": {"maxPerCore": 0},
        "healthzBindAddress": f"127.0.0.1:{free_port()}",
        "metricsBindAddress": f"127.0.0.1:{free_port()}",
    }
    path = folder.root / "proxy.json"
    path.write_text(json.dumps(config))
    return Process.start("kube-proxy", [str(binary("kube-proxy")), f"--config={path}"], folder.root)


def start_dns(folder: NodeFolder, authority: Authority, url: str) -> Process:
    """Start CoreDNS on the bridge's address, where pods look for it."""
    crt, key = authority.issue("dns", "system:coredns", "system:masters")
    kubeconfig = write_kubeconfig(folder.root / "dns.kubeconfig", url, authority, (crt, key))
    corefile = folder.root / "Corefile"
    corefile.write_text(
        f""".:53 {{
    bind {BRIDGE_ADDRESS}
    errors
    ready 127.0.0.1:{free_port()}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        ttl 1
    }}
}}
"""
    )
    return Process.start("coredns", [str(binary("coredns")), "-conf", str(corefile)], folder.root)


def start_controllers(folder: NodeFolder, authority: Authority, url: str) -> list[Process]:
    """Start controller manager and scheduler."""
    processes = []
    for name, user, flags in (
        (
            "kube-controller-manager",
            "system:kube-controller-manager",
            (
                f"--cluster-cidr={CLUSTER_CIDR}",
                f"--service-cluster-ip-range={SERVICE_CIDR}",
                f"--service-account-private-key-file={authority.folder / 'sa.key'}",
                f"--root-ca-file={authority.ca}",
                "--use-service-account-credentials=true",
                "--leader-elect=false",
                "--secure-port=0",
            ),
        ),
        ("kube-scheduler", "system:kube-scheduler", ("--leader-elect=false", "--secure-port=0")),
    ):
        client = authority.issue(name, user)
        kubeconfig = write_kubeconfig(folder.root / f"{name}.kubeconfig", url, authority, client)
        command = [str(binary(name)), f"--kubeconfig={kubeconfig}", *flags]
        processes.append(Process.start(name, command, folder.root))
    return processes


def start_registry(folder: NodeFolder) -> tuple[Process, str]:
    """Start a registry on loopback; returns it and its host:port."""
    address = f"127.0.0.1:{free_port()}"
    config = folder.root / "registry.yml"
    storage = folder.sub("registry")
    config.write_text(
        f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\n"
        f"http: {{addr: {address}}}\n"
    )
    return Process.start("registry", ["docker-registry", "serve", str(config)], folder.root), address


def favour_pods() -> None:
    """Double the pods' share of CPU: by default all of them together weigh as much as two processes outside.

    On a busy machine they would start minutes late; with much more they would outrun the API server and the operator.
    """
    for path, share in (("cpu/kubepods/cpu.shares", "4096"), ("kubepods/cpu.weight", "160")):  # cgroup v1, v2
        weight = Path("/sys/fs/cgroup") / path
        if weight.exists():
            weight.write_text(share)


def kill_pods(folder: NodeFolder) -> None:
    """Kill what still runs in containers and unmount what the kubelet and containerd mounted."""
    for task in ctr(folder, "tasks", "ls", "-q", check=False).split():
        ctr(folder, "tasks", "kill", "-s", "SIGKILL", task, check=False)
    namespaces = Path("/run/netns")
    for namespace in namespaces.glob("cni-*") if namespaces.exists() else ():
        run("ip", "netns", "del", namespace.name, check=False)


def unmount(root: Path) -> None:
    """Unmount everything under a folder, deepest first."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{root}/")), key=len, reverse=True):
        run("umount", "-l", mount, check=False)


def remove(root: Path) -> None:
    """Remove the folder, unmounting first, and the control groups that the kubelet left empty."""
    unmount(root)
    hierarchies = Path("/sys/fs/cgroup")
    for top in (hierarchies / "kubepods", *hierarchies.glob("*/kubepods")):
        for group in sorted((top, *top.rglob("*/")), key=lambda path: len(path.parts), reverse=True):
            if group.is_dir():
                with contextlib.suppress(OSError):  # not empty: somebody else's
                    group.rmdir()
    shutil.rmtree(root, ignore_errors=True)
