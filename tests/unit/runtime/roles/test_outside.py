"""What the coordinator writes to and reads from files and an API server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.runtime.roles.api_server import ObjectServer

from fljob_api.job_config import KubernetesTarget
from fljob_api.progress import Progress, RoundState, Training
from fljob_api.spec import FLJobSpec
from fljob_runtime.roles.controls import ControlError, FileControl, FLJobControl
from fljob_runtime.roles.kube import KubeError
from fljob_runtime.roles.progress_sinks import ConfigMapProgress, FileProgress, SinkError
from fljob_runtime.roles.publisher import Publisher
from fljob_runtime.rounds.rules import Control

SPEC = FLJobSpec.from_dict(
    {"model": {"name": "ncf"}, "dataset": {"name": "synthetic"}, "trainers": [{"name": "a"}], "rounds": 5}
)
TARGET = KubernetesTarget(namespace="ns", name="job", progress_config_map="job-progress")
MAP_PATH = "/api/v1/namespaces/ns/configmaps/job-progress"
JOB_PATH = "/apis/fljob.dev/v1alpha1/namespaces/ns/fljobs/job"
DEADLINE_S = 5.0


def progress(round_number: int) -> Progress:
    return Progress(uid="u", incarnation=1, training=Training(round=round_number, state=RoundState.TRAINING))


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("secret\n")
    return path


@pytest.fixture
def api() -> Iterator[ObjectServer]:
    server = ObjectServer({MAP_PATH: {"data": {"other": "kept"}}, JOB_PATH: {"spec": SPEC.to_dict()}})
    yield server
    server.stop()


def test_the_config_map_gets_the_progress_under_its_key(api: ObjectServer, token: Path) -> None:
    ConfigMapProgress(api.client(token), TARGET).write(progress(3))
    data = api.objects[MAP_PATH]["data"]
    assert json.loads(data["progress.json"])["training"]["round"] == 3
    assert data["other"] == "kept"


def test_requests_carry_the_pods_token(api: ObjectServer, token: Path) -> None:
    ConfigMapProgress(api.client(token), TARGET).write(progress(3))
    assert api.requests == [("PATCH", MAP_PATH, "Bearer secret", "application/merge-patch+json")]


def test_a_token_that_was_renewed_is_used(api: ObjectServer, token: Path) -> None:
    client = api.client(token)
    token.write_text("renewed")
    client.get(JOB_PATH)
    assert api.requests[0][2] == "Bearer renewed"


def test_a_config_map_that_is_gone_is_an_error_of_the_sink(api: ObjectServer, token: Path) -> None:
    del api.objects[MAP_PATH]
    with pytest.raises(SinkError, match="404"):
        ConfigMapProgress(api.client(token), TARGET).write(progress(3))


def test_an_api_server_that_is_away_is_an_error_without_code(api: ObjectServer, token: Path) -> None:
    client = api.client(token)
    api.stop()
    with pytest.raises(KubeError) as caught:
        client.get(JOB_PATH)
    assert caught.value.code == 0


def test_the_fljob_tells_the_mutable_fields(api: ObjectServer, token: Path) -> None:
    api.objects[JOB_PATH]["spec"] |= {"suspend": True, "rounds": 9}
    assert FLJobControl(api.client(token), TARGET, SPEC).read() == Control(suspend=True, rounds=9)


def test_stop_criteria_that_were_removed_are_gone(api: ObjectServer, token: Path) -> None:
    with_criterion = FLJobSpec.from_dict(
        {**SPEC.to_dict(), "stopCriteria": [{"metric": "AUC", "operator": "NoImprovement"}]}
    )
    del api.objects[JOB_PATH]["spec"]["stopCriteria"]
    assert FLJobControl(api.client(token), TARGET, with_criterion).read() == Control(rounds=5)


def test_the_file_of_a_local_run_is_replaced_whole(tmp_path: Path) -> None:
    sink = FileProgress(tmp_path / "progress.json")
    sink.write(progress(1))
    sink.write(progress(2))
    assert Progress.from_dict(json.loads((tmp_path / "progress.json").read_text())).training.round == 2


def test_without_a_control_file_nothing_is_said(tmp_path: Path) -> None:
    assert FileControl(tmp_path / "control.json", SPEC).read() is None


def test_a_control_file_changes_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "control.json").write_text('{"suspend": true}')
    assert FileControl(tmp_path / "control.json", SPEC).read() == Control(suspend=True, rounds=5)


@pytest.mark.parametrize("content", ["{", '{"seed": 1}', "[]", '{"rounds": "many"}'])
def test_a_wrong_control_file_is_an_error_that_names_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "control.json").write_text(content)
    with pytest.raises(ControlError, match=r"control\.json"):
        FileControl(tmp_path / "control.json", SPEC).read()


class Sink:
    """Keeps what is written; fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.written: list[Progress] = []
        self._failures = failures
        self.arrived = threading.Event()

    def write(self, value: Progress) -> None:
        if self._failures:
            self._failures -= 1
            raise SinkError("not now")
        self.written.append(value)
        self.arrived.set()


def publish(sink: Sink, *values: Progress, **options: Any) -> tuple[bool, list[int]]:
    errors: list[int] = []
    publisher = Publisher(sink, lambda: errors.append(1), **options)
    for value in values:
        publisher.offer(value, urgent=False)
    return publisher.close(DEADLINE_S), errors


def test_closing_writes_the_newest_object_at_once() -> None:
    sink = Sink()
    done, _ = publish(sink, progress(1), progress(2), interval_s=60.0)
    assert (done, [value.training.round for value in sink.written]) == (True, [2])


def test_a_failed_write_is_counted_and_tried_again() -> None:
    sink = Sink(failures=1)
    done, errors = publish(sink, progress(1), interval_s=60.0)
    assert (done, len(sink.written), len(errors)) == (True, 1, 1)


def test_an_urgent_object_does_not_wait_for_the_interval() -> None:
    sink = Sink()
    publisher = Publisher(sink, lambda: None, interval_s=60.0)
    publisher.offer(progress(1), urgent=True)
    assert sink.arrived.wait(DEADLINE_S)
    publisher.close(DEADLINE_S)


def test_the_sequence_grows_with_each_write() -> None:
    sink = Sink()
    publisher = Publisher(sink, lambda: None, interval_s=60.0)
    publisher.offer(progress(1), urgent=True)
    assert sink.arrived.wait(DEADLINE_S)
    publisher.offer(progress(2), urgent=True)
    publisher.close(DEADLINE_S)
    assert [value.sequence for value in sink.written] == [1, 2]
