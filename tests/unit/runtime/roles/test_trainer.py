"""The trainer's worker with a real model and data; the parameter server is a table in memory that can fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fljob_api.exit_codes import ExitCode
from fljob_api.job_config import JobConfig
from fljob_api.spec import FLJobSpec
from fljob_runtime.errors import LayoutMismatchError, NotReadyError, StaleError, TransportError
from fljob_runtime.messages import (
    Committed,
    Evaluate,
    EvaluateReport,
    Failure,
    Finish,
    Initialize,
    Instruction,
    Outcome,
    Receipt,
    Report,
    Repush,
    Train,
    TrainReport,
)
from fljob_runtime.parameters import ModelState
from fljob_runtime.roles.heartbeat import Pulse
from fljob_runtime.roles.private_state import PrivateStore
from fljob_runtime.roles.trainer import Surroundings, Trainer
from fljob_runtime.roles.trainer_link import Inbox
from fljob_runtime.roles.trainer_metrics import TrainerMetrics
from fljob_runtime.roles.trainer_setup import make_local, open_data
from fljob_runtime.training.dumps import Dumps
from fljob_runtime.training.local import LocalTrainer
from fljob_runtime.transport.exchange import Exchanged, Numbered

END = Finish(Outcome.SUCCEEDED)
FAR = 1e12


def config(**spec: Any) -> JobConfig:
    base = {
        "model": {"name": "ncf", "parameters": {"mode": "MLP", "layers": "8,4"}},
        "dataset": {"name": "synthetic", "parameters": {"usersPerSite": 5, "items": 10, "samplesPerUser": 10}},
        "trainers": [{"name": "a"}],
        "rounds": 3,
        "strategy": {"batchSize": 10},
    }
    spec_value = FLJobSpec.from_dict({**base, **spec})
    return JobConfig(name="job", uid="u", spec=spec_value, coordinator="h:1", servers=["h:2"])


@dataclass
class Server:
    """Holds one state for all versions; calls fail as scripted."""

    state: ModelState
    faults: list[TransportError] = field(default_factory=list)
    pushed: list[tuple[int, ModelState]] = field(default_factory=list)
    pulls: list[int] = field(default_factory=list)
    bytes_sent: int = 0
    bytes_received: int = 0

    def pull(self, version: int, rows: Mapping[str, np.ndarray]) -> ModelState:
        self._fail()
        self.pulls.append(version)
        chosen = {name: self.state.rows[name].values[ids] for name, ids in rows.items()}
        kept = {name: type(self.state.rows[name])(rows[name], values) for name, values in chosen.items()}
        return ModelState(self.state.dense, kept)

    def push(self, round_number: int, attempt: int, num_samples: int, state: ModelState) -> tuple[Receipt, ...]:
        self._fail()
        self.pushed.append((round_number, state))
        return (Receipt(0, f"{attempt}-{num_samples}", 1),)

    def as_received(self, round_number: int, attempt: int, state: ModelState) -> ModelState:  # noqa: ARG002
        """Lose nothing."""
        return state

    def exchange(self, number: Numbered, state: ModelState | None, wanted: Mapping[str, np.ndarray]) -> Exchanged:
        """Take a contribution; the values stay as they are."""
        self._fail()
        if state is not None:
            self.pushed.append((number.sequence, state))
        rows = {
            name: type(self.state.rows[name])(ids, self.state.rows[name].values[ids]) for name, ids in wanted.items()
        }
        return Exchanged(len(self.pushed), ModelState(self.state.dense, rows))

    def _fail(self) -> None:
        if self.faults:
            raise self.faults.pop(0)


@dataclass
class Bench:
    """A trainer that follows a script to its end."""

    trainer: Trainer
    server: Server
    inbox: Inbox
    reports: list[Report]

    def follow(self, *instructions: Instruction) -> ExitCode:
        for instruction in instructions:
            self.inbox.put(instruction)
        self.inbox.put(END)
        return self.trainer.run()


class PatientInbox(Inbox):
    """An inbox in which the end that is scripted does not make the work before it useless."""

    def superseded(self, round_number: int) -> bool:  # noqa: ARG002 - the inbox's signature
        return False

    def evaluation_superseded(self, version: int) -> bool:  # noqa: ARG002 - the inbox's signature
        return False


def bench(tmp_path: Path, inbox: Inbox | None = None, **spec: Any) -> Bench:
    job = config(**spec)
    data = open_data(job, "a", None)

    def fresh() -> LocalTrainer:
        return make_local(job, "a", data)

    local = fresh()
    reports: list[Report] = []
    server, box = Server(fresh().initial_state().shared(local.layout)), inbox or PatientInbox()
    around = Surroundings(
        make_local=fresh,
        strategy=job.spec.strategy,
        servers=server,
        inbox=box,
        report=reports.append,
        store=PrivateStore(tmp_path, local.layout, job_uid="u"),
        pulse=Pulse(reports.append),
        metrics=TrainerMetrics(namespace="n", job="job", trainer="a"),
        reach_s=5.0,
        dumps=Dumps(job.spec.dump, tmp_path, "a") if job.spec.dump else None,
    )
    return Bench(Trainer(local, around), server, box, reports)


def equal(one: ModelState, other: ModelState) -> bool:
    dense = all(np.array_equal(value, other.dense[name]) for name, value in one.dense.items())
    rows = all(np.array_equal(value.values, other.rows[name].values) for name, value in one.rows.items())
    return dense and rows and one.dense.keys() == other.dense.keys() and one.rows.keys() == other.rows.keys()


def test_initial_values_are_pushed_as_round_zero(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.follow(Initialize())
    ((number, state),) = made.server.pushed
    assert number == 0
    assert equal(state, made.server.state)


def test_a_trained_round_is_pushed_and_reported_with_its_receipts(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.follow(Train(1, FAR))
    (report,) = made.reports
    assert isinstance(report, TrainReport)
    assert (report.round, report.receipts, report.num_samples) == (1, (Receipt(0, "1-50", 1),), 50)


def test_the_same_round_asked_again_is_reported_without_a_second_push(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.follow(Train(1, FAR), Train(1, FAR))
    assert (len(made.server.pushed), made.reports[0] == made.reports[1]) == (1, True)


def test_a_lost_update_is_pushed_again_from_what_was_kept(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.follow(Train(1, FAR), Repush(1))
    assert [number for number, _ in made.server.pushed] == [1, 1]
    assert made.server.pulls == [0]


def test_a_restarted_trainer_repeats_the_update_bit_for_bit(tmp_path: Path) -> None:
    first, second = bench(tmp_path / "1"), bench(tmp_path / "2")
    first.follow(Initialize(), Train(1, FAR), Committed(1, accepted=True), Train(2, FAR))
    second.follow(Repush(2))
    assert equal(first.server.pushed[-1][1], second.server.pushed[-1][1])


def test_the_initial_values_come_again_after_training(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.follow(Train(1, FAR), Repush(0))
    assert equal(made.server.pushed[-1][1], made.server.state)


def test_the_rows_fetched_with_an_evaluation_serve_the_next_round(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.follow(Evaluate(1, next_round=2), Train(2, FAR))
    assert made.server.pulls == [1]


def test_an_evaluation_is_reported_with_its_version(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.follow(Evaluate(3))
    (report,) = made.reports
    assert isinstance(report, EvaluateReport)
    assert report.version == 3


def test_an_evaluation_is_dumped_where_the_job_says_so(tmp_path: Path) -> None:
    bench(tmp_path, dump={"fields": ["user", "prediction"]}).follow(Evaluate(3))
    assert sorted(path.name for path in (tmp_path / "dumps/3").iterdir()) == ["dump.json", "examples.parquet"]


def test_a_dump_that_cannot_be_written_is_told_and_the_job_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "dumps").write_text("in the way", encoding="utf-8")
    made = bench(tmp_path, dump={"fields": ["user"]})
    made.follow(Evaluate(3))
    assert [type(report) for report in made.reports] == [EvaluateReport]
    assert "event=dump_failed version=3" in caplog.text


def test_without_spec_dump_nothing_is_written(tmp_path: Path) -> None:
    bench(tmp_path).follow(Evaluate(3))
    assert not (tmp_path / "dumps").exists()


def test_a_server_that_is_not_ready_is_asked_again(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.server.faults = [NotReadyError("no version yet")] * 3
    made.follow(Train(1, FAR))
    assert len(made.server.pushed) == 1


def test_work_that_the_job_went_on_without_is_dropped(tmp_path: Path) -> None:
    made = bench(tmp_path, inbox=Inbox())
    made.follow(Train(1, FAR), Committed(1, accepted=False))
    assert (made.reports, made.server.pushed) == ([], [])


def test_a_layout_that_the_server_refuses_ends_the_trainer(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.server.faults = [LayoutMismatchError("another shape")]
    assert made.follow(Train(1, FAR)) is ExitCode.LAYOUT_MISMATCH
    assert made.reports == [Failure(ExitCode.LAYOUT_MISMATCH, "another shape")]


def test_divergence_ends_the_trainer_and_is_reported(tmp_path: Path) -> None:
    made = bench(tmp_path, optimizer={"name": "SGD", "learningRate": "1e30"})
    assert made.follow(Train(1, FAR)) is ExitCode.DIVERGED
    assert isinstance(made.reports[0], Failure)


def test_the_finish_says_what_the_process_ends_with(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.inbox.put(Finish(Outcome.PAUSED, exit_code=ExitCode.STOPPED))
    assert made.trainer.run() is ExitCode.STOPPED


PRIVATE = [{"name": "user_embedding", "scope": "Private"}]


def test_private_parameters_are_in_no_push(tmp_path: Path) -> None:
    made = bench(tmp_path, parameterScopes=PRIVATE)
    made.follow(Initialize(), Train(1, FAR))
    names = [name for _, state in made.server.pushed for name in (*state.dense, *state.rows)]
    assert names
    assert not [name for name in names if name.startswith("user_embedding")]


@pytest.mark.parametrize(("accepted", "newest"), [(True, 1), (False, 0)])
def test_private_state_counts_only_with_the_round(tmp_path: Path, accepted: bool, newest: int) -> None:
    made = bench(tmp_path, parameterScopes=PRIVATE)
    made.follow(Train(1, FAR), Committed(1, accepted))
    assert len(list((tmp_path / "private-u").iterdir())) == newest


def test_late_word_of_a_round_without_this_trainer_takes_nothing_of_the_next_one(tmp_path: Path) -> None:
    made = bench(tmp_path, parameterScopes=PRIVATE)
    made.follow(Train(1, FAR), Committed(0, accepted=False), Train(1, FAR), Committed(1, accepted=True))
    assert made.trainer._around.store.newest() == 1


KEYS: list[list[dict[str, Any]]] = [[], [{"name": "user_embedding", "keys": "Any"}]]


@pytest.mark.parametrize("tables", KEYS, ids=["Range", "Any"])
def test_a_restart_trains_on_with_the_private_state_of_the_committed_round(
    tmp_path: Path, tables: list[dict[str, Any]]
) -> None:
    def pushed(steps: list[tuple[Instruction, ...]], folder: Path) -> ModelState:
        for instructions in steps:
            made = bench(folder, parameterScopes=PRIVATE, tables=tables)
            made.follow(*instructions)
        return made.server.pushed[-1][1]

    counted = (Train(1, FAR), Committed(1, accepted=True))
    whole = pushed([(*counted, Train(2, FAR))], tmp_path / "whole")
    torn = pushed([counted, (Train(2, FAR),), (Train(2, FAR),)], tmp_path / "torn")
    assert equal(whole, torn)


@pytest.mark.parametrize("tables", KEYS, ids=["Range", "Any"])
def test_private_rows_of_a_round_that_did_not_count_are_as_before_it(
    tmp_path: Path, tables: list[dict[str, Any]]
) -> None:
    dropped, straight = (bench(tmp_path / name, parameterScopes=PRIVATE, tables=tables) for name in ("1", "2"))
    dropped.follow(Train(1, FAR), Committed(1, accepted=False), Train(2, FAR))
    straight.follow(Train(2, FAR))
    assert equal(dropped.server.pushed[-1][1], straight.server.pushed[-1][1])


SCAFFOLD: dict[str, Any] = {
    "strategy": {"name": "Scaffold", "batchSize": 10},
    "optimizer": {"name": "SGD", "learningRate": "0.1"},
}


def test_a_clients_control_variates_stay_with_it_and_the_shared_ones_are_pushed(tmp_path: Path) -> None:
    made = bench(tmp_path, **SCAFFOLD)
    made.follow(Initialize(), Train(1, FAR))
    names = {name for _, state in made.server.pushed for name in (*state.dense, *state.rows)}
    assert {name.partition("@")[2] for name in names} == {"", "c"}


def test_a_restart_trains_on_with_its_control_variates(tmp_path: Path) -> None:
    counted = (Train(1, FAR), Committed(1, accepted=True))
    whole = bench(tmp_path / "whole", **SCAFFOLD)
    whole.follow(*counted, Train(2, FAR))
    bench(tmp_path / "torn", **SCAFFOLD).follow(*counted)
    torn = bench(tmp_path / "torn", **SCAFFOLD)
    torn.follow(Train(2, FAR))
    assert equal(whole.server.pushed[-1][1], torn.server.pushed[-1][1])


def test_control_variates_of_a_round_that_did_not_count_are_forgotten(tmp_path: Path) -> None:
    dropped, straight = bench(tmp_path / "dropped", **SCAFFOLD), bench(tmp_path / "straight", **SCAFFOLD)
    dropped.follow(Train(1, FAR), Committed(1, accepted=False), Train(2, FAR))
    straight.follow(Train(2, FAR))
    assert equal(dropped.server.pushed[-1][1], straight.server.pushed[-1][1])


def test_a_trainer_without_its_storage_says_that_it_begins_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench(tmp_path, **SCAFFOLD).follow(Train(2, FAR))
    assert "event=fresh_state after_round=1" in caplog.text


@pytest.mark.parametrize("number", [1, 2])
def test_a_trainer_with_all_it_needs_says_nothing_of_storage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    made = bench(tmp_path, **SCAFFOLD)
    made.follow(*(Train(n, FAR) for n in range(1, number + 1)))
    assert "fresh_state" not in caplog.text


# Mode Buffered: the coordinator numbers a trainer's tasks apart from the rounds.

BUFFERED: dict[str, Any] = {"strategy": {"batchSize": 10, "mode": "Buffered"}}
PRIVATE = [{"name": "user_embedding", "scope": "Private"}]


def test_the_number_of_the_task_says_what_is_trained_on(tmp_path: Path) -> None:
    plain, numbered = bench(tmp_path / "1"), bench(tmp_path / "2", **BUFFERED)
    plain.follow(Train(2, FAR))
    numbered.follow(Train(7, FAR, task=2))
    assert numbered.server.pulls == [6]
    assert equal(plain.server.pushed[-1][1], numbered.server.pushed[-1][1])


def test_a_task_told_twice_is_pushed_again_from_what_was_kept(tmp_path: Path) -> None:
    made = bench(tmp_path, **BUFFERED)
    made.follow(Train(3, FAR, task=2), Train(3, FAR, task=2))
    assert ([number for number, _ in made.server.pushed], made.server.pulls) == ([3, 3], [2])


def test_after_servers_went_back_the_same_round_is_trained_anew(tmp_path: Path) -> None:
    made = bench(tmp_path, **BUFFERED)
    made.follow(Train(3, FAR, task=2), Train(3, FAR, task=2, attempt=2))
    assert made.server.pulls == [2, 2]
    assert [report.attempt for report in made.reports if isinstance(report, TrainReport)] == [1, 2]


def test_a_task_whose_version_is_gone_is_given_up_for_what_comes_next(tmp_path: Path) -> None:
    made = bench(tmp_path, **BUFFERED)
    made.server.faults.append(StaleError("version 2 is gone; held are [3]"))
    made.follow(Train(3, FAR, task=2), Evaluate(3, next_task=2))
    assert [type(report) for report in made.reports if isinstance(report, TrainReport | EvaluateReport)] == [
        EvaluateReport
    ]


def test_private_values_are_those_of_the_tasks_that_an_evaluated_version_has(tmp_path: Path) -> None:
    made = bench(tmp_path, parameterScopes=PRIVATE, **BUFFERED)
    made.follow(Train(1, FAR, task=1), Evaluate(4, next_task=1), Evaluate(4, next_task=2))
    fresh, trained = (report.metrics for report in made.reports if isinstance(report, EvaluateReport))
    other = bench(tmp_path / "other", parameterScopes=PRIVATE, **BUFFERED)
    other.follow(Evaluate(4, next_task=1))
    assert [report.metrics for report in other.reports if isinstance(report, EvaluateReport)] == [fresh]
    assert fresh != trained


def test_a_task_that_is_called_off_leaves_the_private_values_of_those_before(tmp_path: Path) -> None:
    made = bench(tmp_path, parameterScopes=PRIVATE, **BUFFERED)
    made.follow(
        Train(1, FAR, task=1),
        Committed(1, accepted=True),
        Train(4, FAR, task=2),
        Committed(4, accepted=False),
        Train(9, FAR, task=2),
    )
    assert made.trainer._around.store.newest() == 2
    assert made.trainer._around.store.newest(1) == 1


# Rounds of exchanges.


def test_a_round_of_exchanges_told_twice_keeps_its_private_values(tmp_path: Path) -> None:
    made = bench(tmp_path, parameterScopes=PRIVATE, strategy={"mode": "Geo", "batchSize": 10})
    made.follow(Train(1, FAR), Train(1, FAR))
    assert [report.round for report in made.reports if isinstance(report, TrainReport)] == [1, 1]
    assert len(list((tmp_path / "private-u").iterdir())) == 1
