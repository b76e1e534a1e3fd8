"""Each wall between the rooms is real: an import that breaks it is found by the linter, under its name.

All contracts are broken at once in a copy of the sources; each must then be reported as broken by its own import.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BREAKS = {
    "api stands alone": ("fljob_api/names", "torch"),
    "the operator needs neither the runtime nor torch": ("fljob_operator/settings", "fljob_runtime.parameters"),
    "the runtime needs neither the operator nor a Kubernetes library": ("fljob_runtime/roles/kube", "kubernetes"),
    "layers of the runtime": ("fljob_runtime/rounds/machine", "fljob_runtime.roles.journal"),
    "only transport and a scorer speak gRPC": ("fljob_runtime/algorithms/fedavg", "grpc"),
    "messages of the wire are touched only in transport and by a scorer": (
        "fljob_runtime/roles/journal",
        "fljob_api.wire.server_pb2",
    ),
    "coordinator and server do not load torch": ("fljob_runtime/server/fold", "fljob_runtime.models.ncf"),
    "the scorer needs numpy, onnxruntime, safetensors, prometheus alone": ("fljob_runtime/serving/http", "pyarrow"),
    "the scorer's gRPC needs grpc and protobuf beside": ("fljob_runtime/serving/rpc", "fljob_runtime.models.base"),
    "layers of the operator": ("fljob_operator/desired/jobs", "fljob_operator.policies.cleanup"),
    "only wakeups imports kopf": ("fljob_operator/queue", "kopf"),
    "only cluster and wakeups talk to the API server": ("fljob_operator/observe", "kubernetes"),
    "what decides in the operator does no input or output": ("fljob_operator/desired/roles", "asyncio"),
}


def _contracts() -> list[str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    return [parser[section]["name"] for section in parser.sections() if ":contract:" in section]


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Contract → the linter's words on how it is broken, with every wall broken."""
    copy = tmp_path_factory.mktemp("walls")
    for room in ("api", "operator", "runtime", "cli"):
        (source,) = (ROOT / room / "src").glob("fljob_*[!o]")
        shutil.copytree(source, copy / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", copy)
    for module, target in BREAKS.values():
        with (copy / f"{module}.py").open("a", encoding="utf-8") as file:
            file.write(f"\nimport {target}\n")
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    broken = done.stdout.partition("Broken contracts")[2]
    parts = re.split(r"^(.+)\n-{5,}\n", broken, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_contract_has_an_import_that_breaks_it() -> None:
    assert set(_contracts()) == set(BREAKS)


@pytest.mark.parametrize("contract", BREAKS)
def test_the_linter_finds_the_import_that_breaks(contract: str, faults: dict[str, str]) -> None:
    module, target = BREAKS[contract]

    assert f"{module.replace('/', '.')} -> {target}" in faults[contract]


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("fljob_api.validation", ("torch", "numpy", "grpc", "kopf", "kubernetes")),
        ("fljob_cli.main", ("torch", "numpy", "grpc", "kopf", "fljob_runtime", "fljob_operator")),
        ("fljob_runtime.programs.coordinator", ("torch", "pyarrow")),
        ("fljob_runtime.programs.server", ("torch", "pyarrow")),
        ("fljob_runtime.programs.scorer", ("torch", "pyarrow", "grpc", "google.protobuf", "pydantic")),
        ("fljob_runtime.serving.rpc", ("torch", "pyarrow", "pydantic", "cryptography")),
    ],
)
def test_a_program_starts_without_what_it_does_not_need(module: str, unwanted: tuple[str, ...]) -> None:
    script = f"import sys, {module}; print(*sorted({set(unwanted)!r} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == ""
