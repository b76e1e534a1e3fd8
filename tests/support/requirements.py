"""What a test may need beyond Python, and the one line that says what was left out without it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support import assets


@dataclass(frozen=True)
class Requirement:
    """A marker, whether it is met here, and how to meet it."""

    marker: str
    is_met: Callable[[], bool]
    how: str


def _cluster_wanted() -> bool:
    if os.environ.get("KUBECONFIG") and os.environ.get("FLJOB_TEST_REGISTRY"):
        return True
    return os.environ.get("FLJOB_TEST_CLUSTER") == "1" and assets.has_cluster()


def _data_there() -> bool:
    folder = os.environ.get("FLJOB_TEST_DATA")
    return bool(folder) and Path(folder or "").is_dir()


def _has_cuda() -> bool:
    return shutil.which("nvidia-smi") is not None and "+cpu" not in importlib.metadata.version("torch")


REQUIREMENTS = (
    Requirement(
        "cluster",
        _cluster_wanted,
        "set FLJOB_TEST_CLUSTER=1 and FLJOB_TEST_ASSETS (as root on Linux), or KUBECONFIG and FLJOB_TEST_REGISTRY; "
        "see docs/development.md",
    ),
    Requirement(
        "apiserver",
        lambda: assets.has_control_plane() and shutil.which("kubectl") is not None,
        "set FLJOB_TEST_ASSETS or KUBEBUILDER_ASSETS, with kubectl on the path; see docs/development.md",
    ),
    Requirement(
        "controllers",
        lambda: assets.has_cluster() and shutil.which("kubectl") is not None,
        "set FLJOB_TEST_ASSETS, with kubectl on the path; see docs/development.md",
    ),
    Requirement("helm", assets.has_helm, "put helm 4 on the path or set FLJOB_TEST_ASSETS; see docs/development.md"),
    Requirement(
        "atheris",
        lambda: importlib.util.find_spec("atheris") is not None,
        "install atheris, which has wheels for Linux on x86-64 and Python up to 3.13; see docs/development.md",
    ),
    Requirement("ftp", lambda: importlib.util.find_spec("pyftpdlib") is not None, "install requirements-dev.txt"),
    Requirement(
        "s3",
        lambda: all(importlib.util.find_spec(name) is not None for name in ("s3fs", "moto", "flask")),
        "install s3fs and moto[server] in a virtual environment of their own; see docs/development.md",
    ),
    Requirement(
        "onnx",
        lambda: all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")),
        "pip install 'fljob-runtime[onnx]'",
    ),
    Requirement(
        "tensorboard",
        lambda: importlib.util.find_spec("tensorboard") is not None,
        "pip install 'fljob-runtime[tensorboard]'",
    ),
    Requirement("cuda", _has_cuda, "run on a machine with an NVIDIA GPU and torch's build for it"),
    Requirement("promtool", lambda: shutil.which("promtool") is not None, "install promtool (Debian: prometheus)"),
    Requirement(
        "data", _data_there, "set FLJOB_TEST_DATA to a folder with the real data sets; see docs/development.md"
    ),
)
