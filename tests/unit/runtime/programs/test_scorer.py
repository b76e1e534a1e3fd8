"""The scorer program: it answers as the training graph does, over TLS too, and ends when it is asked to."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from unit.runtime.serving.test_exported import PAIRS, ncf

from fljob_api.exit_codes import ExitCode
from fljob_api.wire import scorer_pb2 as pb
from fljob_api.wire.scorer_pb2_grpc import ScorerStub
from fljob_runtime.models.base import RecommenderModel
from fljob_runtime.programs import scorer
from fljob_runtime.serving.served import Format
from support.certificates import Authority

LIMIT_S = 60.0
CODE = "import sys; from fljob_runtime.programs import scorer; scorer.main()"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RecommenderModel]:
    folder = tmp_path_factory.mktemp("served")
    model, _ = ncf(folder, Format.ONNX)
    return folder, model


@contextmanager
def running(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a scorer on any port of the loopback, and its address without the scheme."""
    flags = ("--listen", "127.0.0.1", "--port", "0", "--drain-s", "0")
    line = [sys.executable, "-c", CODE, *map(str, arguments), *flags]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, process.stdout.readline().strip().partition("//")[2]
        finally:
            process.kill()


def asked(connection: http.client.HTTPConnection, path: str, body: object = None) -> tuple[int, Any]:
    connection.request("POST" if body else "GET", path, json.dumps(body) if body else None)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def wanted(model: RecommenderModel, columns: dict[str, np.ndarray]) -> list[float]:
    with torch.no_grad():
        logits = model.logits({name: torch.from_numpy(values) for name, values in columns.items()})
    values: list[float] = torch.sigmoid(logits).tolist()
    return values


@pytest.mark.onnx
def test_it_answers_as_the_training_graph_does_and_ends_on_sigterm(served: tuple[Path, RecommenderModel]) -> None:
    folder, model = served
    with running(folder) as (process, address):
        connection = http.client.HTTPConnection(address, timeout=LIMIT_S)
        columns = {name: values.tolist() for name, values in PAIRS.items()}
        _, scores = asked(connection, "/v1/score", {"inputs": columns})
        _, top = asked(connection, "/v1/top-k", {"inputs": {"user": [3]}, "k": 4})
        assert asked(connection, "/readyz") == asked(connection, "/healthz") == (200, {"status": "ok"})
        process.send_signal(signal.SIGTERM)
        assert (process.wait(LIMIT_S), process.stderr.read()) == (0, "")
    assert scores["probability"] == pytest.approx(wanted(model, PAIRS), abs=1e-5)
    every = wanted(model, {"user": np.full(8, 3), "item": np.arange(8)})
    assert top["items"] == np.argsort(-np.array(every))[:4].tolist()
    assert top["scores"] == pytest.approx(sorted(every, reverse=True)[:4], abs=1e-5)


@pytest.mark.onnx
def test_it_answers_over_grpc_too_and_ends_on_sigterm_while_a_channel_is_open(
    served: tuple[Path, RecommenderModel],
) -> None:
    folder, model = served
    columns = {name: values.tolist() for name, values in PAIRS.items()}
    with running(folder, "--grpc-port", "0") as (process, address):
        scheme, _, rpc = process.stdout.readline().strip().partition("://")
        with grpc.insecure_channel(rpc) as channel:
            asked_for = pb.ScoreRequest(columns=[pb.Column(name=name, ids=ids) for name, ids in columns.items()])
            reply = ScorerStub(channel).Score(asked_for, timeout=LIMIT_S)
            health = channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=LIMIT_S)
            connection = http.client.HTTPConnection(address, timeout=LIMIT_S)
            _, told = asked(connection, "/v1/score", {"inputs": columns})
            connection.request("GET", "/metrics")
            metrics = connection.getresponse().read().decode()
            process.send_signal(signal.SIGTERM)
            assert (process.wait(LIMIT_S), process.stderr.read()) == (0, "")
    assert (scheme, list(reply.values), health) == ("grpc", told["probability"], b"\x08\x01")
    assert 'fljob_scorer_rows_total{call="score"} 10.0' in metrics
    assert list(reply.values) == pytest.approx(wanted(model, PAIRS), abs=1e-5)


@pytest.mark.onnx
def test_a_grpc_port_in_use_is_refused(served: tuple[Path, RecommenderModel]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        flags = ["--listen", "127.0.0.1", "--port", "0", "--grpc-port", str(taken.getsockname()[1])]
        with pytest.raises(scorer.StartError, match="cannot listen") as error:
            scorer.start(scorer.parse([str(served[0]), *flags]))
    assert error.value.code is ExitCode.BAD_CONFIG


@pytest.mark.onnx
def test_it_shows_its_certificate(served: tuple[Path, RecommenderModel], tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    cert, key = authority.issue("scorer", "scorer", hosts=("127.0.0.1",))
    trusted = ssl.create_default_context(cafile=str(authority.ca))
    with running(served[0], "--cert", cert, "--key", key) as (_, address):
        connection = http.client.HTTPSConnection(address, timeout=LIMIT_S, context=trusted)
        assert asked(connection, "/healthz") == (200, {"status": "ok"})
        plain = http.client.HTTPConnection(address, timeout=LIMIT_S)
        with pytest.raises((http.client.HTTPException, OSError)):
            asked(plain, "/healthz")
        assert asked(connection, "/readyz") == (200, {"status": "ok"})


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(scorer.StartError, match="not an exported model") as error:
        scorer.start(scorer.parse([str(tmp_path), "--port", "0"]))
    assert error.value.code is ExitCode.BAD_DATA


def test_a_model_in_another_format_is_refused_with_the_way_out(tmp_path: Path) -> None:
    ncf(tmp_path, Format.TORCH_EXPORT)
    with pytest.raises(scorer.StartError, match="--format onnx"):
        scorer.start(scorer.parse([str(tmp_path), "--port", "0"]))


@pytest.mark.onnx
def test_what_is_no_graph_is_refused(tmp_path: Path, served: tuple[Path, RecommenderModel]) -> None:
    shutil.copytree(served[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(scorer.StartError, match="onnxruntime cannot open it"):
        scorer.start(scorer.parse([str(tmp_path), "--port", "0"]))


@pytest.mark.onnx
def test_a_certificate_that_is_not_there_is_refused(served: tuple[Path, RecommenderModel], tmp_path: Path) -> None:
    flags = ["--port", "0", "--cert", str(tmp_path / "none.crt"), "--key", str(tmp_path / "none.key")]
    with pytest.raises(scorer.StartError, match="--cert") as error:
        scorer.start(scorer.parse([str(served[0]), *flags]))
    assert error.value.code is ExitCode.BAD_CONFIG


@pytest.mark.parametrize(
    "flags",
    [
        ["--cert", "a"],
        ["--key", "a"],
        ["--port", "65536"],
        ["--grpc-port", "65536"],
        ["--grpc-port", "-1"],
        ["--threads", "0"],
        ["--drain-s", "-1"],
    ],
)
def test_flags_that_make_no_sense_are_refused(flags: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        scorer.parse(["model", *flags])
    assert end.value.code == 2
