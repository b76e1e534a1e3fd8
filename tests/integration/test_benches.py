"""Every benchmark that needs no data runs at a tiny size and prints its figures; what they are is asserted nowhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from fljob_api.catalog import built_in

BENCH = Path(__file__).parents[2] / "bench"
LIMIT_S = 280


def bench(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(BENCH / name), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def figures(name: str, *arguments: str | Path) -> dict[str, Any]:
    result = bench(name, *arguments)
    assert result.returncode == 0, result.stderr
    value: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return value


def test_tables_are_measured_in_process_and_over_grpc() -> None:
    sizes = ["--rows", "2000", "--batches", "100", "--shards", "2", "--repeats", "1", "--calls", "1"]
    value = figures("tables.py", *sizes)
    calls = {line["call"] for line in value["in_process"]}
    pushes = {"commit", "receive + commit", "Geo's add", "receive + Geo's add"}
    assert calls == {"pull", *pushes, "fold of 4", "fold of 4, places told"}
    assert [(line["rows"], line["shards"], line["batch"]) for line in value["grpc"]] == [(2000, 2, 100)]


def test_a_stream_is_measured_beside_a_bare_one() -> None:
    value = figures("server_stream.py", "--megabytes", "1", "--repeats", "1", "--plain")
    assert set(value["seconds"]) == {"bare stream", "push", "commit", "pull"}


def test_hot_paths_of_the_server_are_profiled() -> None:
    value = figures("hot_paths.py", "--scale", "0.01", "--paths", "intake", "commit", "pull", "geo", "report")
    assert all(value[path]["top"] for path in ("intake", "commit", "pull", "geo", "report"))


def test_training_on_sessions_is_measured_beside_a_plain_loop() -> None:
    value = figures(
        "sessions.py", "--items", "50", "--sessions", "40", "--batch", "8", "--width", "4", "--repeats", "1"
    )
    assert set(value["rates"]) == {"plain loop", "our trainer", "a step each event"}
    assert all(rate > 0 for rates in value["rates"].values() for rate in rates)


def test_every_model_is_trained_beside_the_same_in_plain_pytorch() -> None:
    models = figures("models.py", "--scale", "0.02", "--repeats", "1")["models"]
    assert {name.split()[0] for name in models} == set(built_in().kinds["models"])
    assert all(value["difference"] < 1e-4 and value["cpu_ratio"][0] > 0 for value in models.values())


def test_codecs_are_measured_beside_none() -> None:
    value = figures("compression.py", "--passes", "1", "--seeds", "0", "--only", "int8", "--mode", "Buffered")
    assert [(row["data"], row["codec"]) for row in value["codecs"]] == [("synthetic", "none"), ("synthetic", "int8")]


def test_flower_bench_says_what_to_install_where_there_is_no_flower(tmp_path: Path) -> None:
    result = bench("flower.py", "--flower-venv", tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith("pip install flwr[simulation] torch==2.13.0 there")


def test_imports_are_measured_beside_pyarrow() -> None:
    value = figures("imports.py", "--criteo-rows", "700", "--ratings", "8000", "--repeats", "1")
    for name in ("criteo", "movielens"):
        assert set(value[name]["ratios"]) == {"in process", "in process, CPU", "command", "command, CPU"}
