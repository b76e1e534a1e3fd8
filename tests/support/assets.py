"""Where the test cluster's binaries come from: an asset folder (xz, checked by sha256) unpacked into a cache.

FLJOB_TEST_ASSETS names the folder. KUBEBUILDER_ASSETS (etcd and kube-apiserver as envtest ships them) is enough for
tests that need an API server only. A program that already lies in the cache is used as it is, so the projects' own
releases do too: docs/development.md, "Binaries of the test cluster".
"""

from __future__ import annotations

import fcntl
import hashlib
import lzma
import os
import shutil
from pathlib import Path

CACHE = Path.home() / ".cache" / "fljob-test"
MULTI_CALL = "kubernetes-v1.34.4-linux-amd64"
KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "etcd")
OTHERS = {
    "coredns": "coredns-v1.14.7-linux-amd64",
    "helm": "helm-v4.3.1-linux-amd64",
    "kwok": "kwok-v0.8.0-linux-amd64",
}


class AssetsError(RuntimeError):
    """An asset is missing or its checksum differs."""


def asset_folder() -> Path | None:
    """Return the folder named by FLJOB_TEST_ASSETS, if it is there."""
    value = os.environ.get("FLJOB_TEST_ASSETS")
    return Path(value) if value and Path(value).is_dir() else None


def binary(name: str) -> Path:
    """Return the path of a binary, unpacking it first when needed; raises AssetsError."""
    bin_folder = CACHE / "bin"
    target = bin_folder / name
    if target.exists():
        return target
    envtest = os.environ.get("KUBEBUILDER_ASSETS")
    if envtest and (Path(envtest) / name).exists():
        return Path(envtest) / name
    assets = asset_folder()
    if assets is None:
        raise AssetsError(f"{name}: set FLJOB_TEST_ASSETS to the folder with the test cluster's binaries")
    bin_folder.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _unpack(assets, name, bin_folder)
    return target


def has_control_plane() -> bool:
    """Whether etcd and kube-apiserver can be had."""
    envtest = os.environ.get("KUBEBUILDER_ASSETS")
    if envtest and all((Path(envtest) / name).exists() for name in ("etcd", "kube-apiserver")):
        return True
    return asset_folder() is not None or all((CACHE / "bin" / name).exists() for name in ("etcd", "kube-apiserver"))


def has_cluster() -> bool:
    """Whether every program of a whole cluster can be had."""
    return asset_folder() is not None or all((CACHE / "bin" / name).exists() for name in (*KUBERNETES, "coredns"))


def has_helm() -> bool:
    """Whether helm can be had: from the path, or from the asset folder."""
    return shutil.which("helm") is not None or (CACHE / "bin/helm").exists() or asset_folder() is not None


def helm() -> Path:
    """Return the path of helm; raises AssetsError."""
    found = shutil.which("helm")
    return Path(found) if found else binary("helm")


def manifest(name: str) -> Path:
    """Return the path of a manifest of another project, such as the CRDs of prometheus-operator; raises AssetsError."""
    assets = asset_folder()
    if assets is None:
        raise AssetsError(f"{name}: set FLJOB_TEST_ASSETS to the folder with the test cluster's binaries")
    return assets / "manifests" / name


def _unpack(assets: Path, name: str, folder: Path) -> None:
    if name in KUBERNETES:
        whole = folder / MULTI_CALL
        if not whole.exists():
            _extract(assets / f"{MULTI_CALL}.xz", whole)
        (folder / name).symlink_to(whole.name)
    elif name in OTHERS:
        _extract(assets / f"{OTHERS[name]}.xz", folder / name)
    else:
        raise AssetsError(f"{name}: no such asset")


def _extract(source: Path, target: Path) -> None:
    lines = [line.split() for line in (source.parent / "SHA256SUMS").read_text().splitlines() if line]
    sums = {name: digest for digest, name in lines}
    with source.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if sums.get(source.name) != found:
        raise AssetsError(f"{source}: sha256 is {found}, SHA256SUMS says {sums.get(source.name)}")
    partial = target.with_suffix(".partial")
    with lzma.open(source) as packed, partial.open("wb") as plain:
        shutil.copyfileobj(packed, plain, 1 << 20)
    partial.chmod(0o755)
    partial.replace(target)
