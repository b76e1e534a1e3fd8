"""The scorer's image, run as its own user with nothing but a model: it answers as the training graph does."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from unit.runtime.serving.test_exported import PAIRS, ncf

from fljob_api.wire import scorer_pb2 as pb
from fljob_api.wire.scorer_pb2_grpc import ScorerStub
from fljob_runtime.serving.served import Format
from support.images import build_scorer, container_command

pytestmark = [pytest.mark.cluster, pytest.mark.onnx, pytest.mark.timeout(300)]
LIMIT_S = 60.0
UNWANTED = ("torch", "kopf", "pydantic")
WITHOUT = f"import importlib.util as u, os; print(os.getuid(), [m for m in {UNWANTED} if u.find_spec(m)])"


@pytest.fixture(scope="module")
def image() -> str:
    return build_scorer()


def test_it_answers_as_the_training_graph_does(image: str, tmp_path: Path) -> None:
    model, _ = ncf(tmp_path, Format.ONNX)
    with torch.no_grad():
        wanted = torch.sigmoid(model.logits({name: torch.from_numpy(c) for name, c in PAIRS.items()})).tolist()
    tmp_path.chmod(0o755)
    program = ["fljob-scorer", "/model", "--listen", "127.0.0.1", "--port", "0", "--grpc-port", "0", "--drain-s", "0"]
    with (
        container_command(image, (tmp_path, "/model"), *program) as line,
        subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process,
    ):
        try:
            address, rpc = (process.stdout.readline().strip().partition("://")[2] for _ in range(2))
            connection = http.client.HTTPConnection(address, timeout=LIMIT_S)
            columns = {name: values.tolist() for name, values in PAIRS.items()}
            connection.request("POST", "/v1/score", json.dumps({"inputs": columns}))
            answer = json.loads(connection.getresponse().read())
            with grpc.insecure_channel(rpc) as channel:
                asked = pb.ScoreRequest(columns=[pb.Column(name=name, ids=ids) for name, ids in columns.items()])
                reply = ScorerStub(channel).Score(asked, timeout=LIMIT_S)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(LIMIT_S)
    assert np.abs(np.array(answer["probability"]) - wanted).max() < 1e-5
    assert list(reply.values) == answer["probability"]


def test_it_runs_as_nobody_and_has_no_torch(image: str, tmp_path: Path) -> None:
    with container_command(image, (tmp_path, "/model"), "python3", "-c", WITHOUT) as line:
        done = subprocess.run(line, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout.strip() == "65532 []"
