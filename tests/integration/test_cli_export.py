"""Train, export, predict and serve, as processes: both ways to ask an exported model give the same answer."""

from __future__ import annotations

import csv
import http.client
import json
import subprocess
from pathlib import Path

import pytest
from integration.test_cli_run import LIMIT_S, MINIMAL, SMALL, command, fljob

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
    words = command("serve", served, "--port", "0", settings=())
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip().removeprefix("http://")
            connection = http.client.HTTPConnection(address, timeout=LIMIT_S)
            users, items = zip(*PAIRS, strict=True)
            connection.request("POST", "/v1/score", json.dumps({"inputs": {"user": users, "item": items}}))
            answer = json.loads(connection.getresponse().read())
        finally:
            process.terminate()
    assert answer["probability"] == pytest.approx(scores, abs=1e-6)
    assert len(set(scores)) == 3


def test_an_id_beyond_the_table_is_refused_by_its_column(served: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"user": 40, "item": 1}\n')
    result = fljob("predict", served, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.csv")
    assert (result.returncode, "column user: id 40 is not from 0 to 39" in result.stderr) == (12, True)
