"""Train, export, predict and serve, as processes: both ways to ask an exported model give the same answer."""

from __future__ import annotations

import csv
import http.client
import json
import subprocess
from pathlib import Path

import grpc
import pytest
from integration.test_cli_run import LIMIT_S, MINIMAL, SMALL, command, fljob
from safetensors.numpy import load_file

from fljob_api.wire import scorer_pb2 as pb
from fljob_api.wire.scorer_pb2_grpc import ScorerStub

HASHED = """
apiVersion: fljob.dev/v1alpha1
kind: FLJob
metadata: {name: hashed}
spec:
  model: {name: mf, parameters: {factors: "4"}}
  optimizer: {name: Adam, learningRate: "0.05"}
  dataset: {name: synthetic, parameters: {usersPerSite: 20, items: 60, samplesPerUser: 20, hashedIds: "true"}}
  rounds: 2
  parameterScopes: [{name: user_embedding, scope: Private}, {name: user_bias, scope: Private}]
  tables:
  - {name: user_embedding, keys: Any}
  - {name: user_bias, keys: Any}
  - {name: item_embedding, keys: Any}
  - {name: item_bias, keys: Any}
  checkpoint: {keep: 2, persistentVolumeClaim: {claimName: kept}}
  trainers: [{name: site-0}, {name: site-1}]
"""
PAIRS = [(0, 1), (39, 499), (7, 7)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    trained = fljob("train", MINIMAL, "--run-dir", folder / "run", settings=(*SMALL, "spec.rounds=2"))
    assert trained.returncode == 0, trained.stderr
    result = fljob("model", "export", folder / "run", "--format", "torch-export", "--out", folder / "out")
    assert (result.returncode, result.stdout) == (0, f"{folder / 'out/1'}\n{folder / 'out/2'}\n"), result.stderr
    return folder / "out/2"


def test_a_file_is_scored_and_the_server_says_the_same(served: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("user,item\n" + "".join(f"{user},{item}\n" for user, item in PAIRS))
    result = fljob("predict", served, "--input", tmp_path / "in.csv", "--output", tmp_path / "out.csv")
    assert result.returncode == 0, result.stderr
    with (tmp_path / "out.csv").open(newline="") as file:
        scores = [float(row["probability"]) for row in csv.DictReader(file)]
    words = command("serve", served, "--port", "0", "--grpc-port", "0", settings=())
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address, rpc = (process.stdout.readline().strip().partition("://")[2] for _ in range(2))
            connection = http.client.HTTPConnection(address, timeout=LIMIT_S)
            users, items = zip(*PAIRS, strict=True)
            connection.request("POST", "/v1/score", json.dumps({"inputs": {"user": users, "item": items}}))
            answer = json.loads(connection.getresponse().read())
            connection.request("GET", "/metrics")
            metrics = connection.getresponse().read().decode()
            with grpc.insecure_channel(rpc) as channel:
                columns = [pb.Column(name="user", ids=users), pb.Column(name="item", ids=items)]
                reply = ScorerStub(channel).Score(pb.ScoreRequest(columns=columns), timeout=LIMIT_S)
        finally:
            process.terminate()
    assert answer["probability"] == pytest.approx(scores, abs=1e-6)
    assert list(reply.values) == answer["probability"]
    assert len(set(scores)) == 3
    assert 'fljob_scorer_rows_total{call="score"} 3.0' in metrics


def test_an_id_beyond_the_table_is_refused_by_its_column(served: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"user": 40, "item": 1}\n')
    result = fljob("predict", served, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.csv")
    assert (result.returncode, "column user: id 40 is not from 0 to 39" in result.stderr) == (12, True)


def test_a_certificate_without_its_key_is_refused(served: Path, tmp_path: Path) -> None:
    result = fljob("serve", served, "--cert", tmp_path / "tls.crt")
    assert (result.returncode, "--cert and --key go together" in result.stderr) == (2, True)


def test_each_round_of_a_model_of_any_ids_is_exported_with_its_own_rows(tmp_path: Path) -> None:
    (tmp_path / "fljob.yaml").write_text(HASHED)
    run = fljob("run", tmp_path / "fljob.yaml", "--run-dir", tmp_path / "run")
    assert run.returncode == 0, run.stderr
    out = tmp_path / "out"
    result = fljob("model", "export", tmp_path / "run", "--site", "site-0", "--out", out, "--format", "torch-export")
    assert result.returncode == 0, result.stderr
    first, second = (load_file(out / number / "ids.safetensors") for number in ("1", "2"))
    assert len(first["user"]) == 20  # the site's own alone
    assert 40 < len(first["item"]) <= len(second["item"]) <= 60
    items = [*second["item"][[0, -1]].tolist(), 5, -5]  # of the last two nobody has heard
    lines = [json.dumps({"user": int(second["user"][0]), "item": item}) for item in items]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    result = fljob("predict", out / "2", "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert result.returncode == 0, result.stderr
    scores = [json.loads(line)["probability"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(set(scores)) == 3
    assert scores[2] == scores[3]
