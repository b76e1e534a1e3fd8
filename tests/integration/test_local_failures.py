"""What a local job does when a site is late, hangs, or cannot be used; and that nothing is left running."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from integration.local_jobs import LocalJob, job

from fljob_api.progress import Outcome, RoundState
from fljob_runtime.backends.folder import LocalRunError
from fljob_runtime.data.datasets import OpenRequest
from fljob_runtime.data.store import write_sites
from fljob_runtime.data.synthetic import SyntheticParameters, generate_site
from support.processes import wait_until

PARAMETERS = SyntheticParameters(users_per_site=20, items=60, samples_per_user=40)


def sites(out: Path, count: int) -> dict[str, Path]:
    """Write generated data as the folders that sites bring."""
    requests = [OpenRequest(f"site-{index}", index, count, 0, None) for index in range(count)]
    write_sites(out, {request.site: generate_site(PARAMETERS, request) for request in requests})
    return {request.site: out / request.site for request in requests}


def test_a_site_with_torn_data_ends_the_job_and_is_named(tmp_path: Path) -> None:
    folders = sites(tmp_path / "data", 2)
    torn = folders["site-1"] / "train.parquet"
    torn.write_bytes(torn.read_bytes()[:-40])
    run = LocalJob(job(sites=2), tmp_path / "run", data=folders)
    finish = run.run()
    assert (finish.outcome, finish.reason, finish.exit_code) == (Outcome.FAILED, "QuorumImpossible", 20)
    assert str(torn) in finish.message
    assert "code=12" in run.log("trainer-site-1")


def test_a_job_that_can_do_without_the_torn_site_goes_on(tmp_path: Path) -> None:
    folders = sites(tmp_path / "data", 3)
    (folders["site-1"] / "train.parquet").write_bytes(b"no table")
    run = LocalJob(job(quorum={"minTrainers": 2}), tmp_path / "run", data=folders)
    assert run.run().outcome is Outcome.SUCCEEDED
    assert {t.name: t.state for t in run.seen[-1].trainers}["site-1"] == "Failed"
    assert [record["cohort"] for record in run.records("CohortChosen")][1:] == [["site-0", "site-2"]] * 3


def test_at_the_deadline_a_hung_site_is_left_out_of_the_round(tmp_path: Path) -> None:
    run = LocalJob(job(rounds=2, quorum={"minTrainers": 2}, roundTimeoutSeconds=4), tmp_path)
    run.once(RoundState.TRAINING, 1, lambda: run.kill("trainer-site-2", signal.SIGSTOP))
    assert run.run().outcome is Outcome.SUCCEEDED
    assert [record["dropped"] for record in run.records("ListAccepted")] == [[], [], ["site-2"]]


def test_below_the_quorum_the_deadline_ends_the_job_and_names_the_hung_site(tmp_path: Path) -> None:
    run = LocalJob(job(roundTimeoutSeconds=4), tmp_path)
    run.once(RoundState.TRAINING, 1, lambda: run.kill("trainer-site-2", signal.SIGSTOP))
    finish = run.run()
    assert (finish.reason, finish.exit_code) == ("RoundTimeout", 21)
    assert "site-2" in finish.message


def test_a_late_site_enters_a_later_round(tmp_path: Path) -> None:
    run = LocalJob(job(rounds=12, quorum={"minTrainers": 2}), tmp_path)
    late = run.supervisor.programs.pop("trainer-site-2")
    run.once(RoundState.TRAINING, 1, lambda: run.supervisor.fleet.start(late))
    assert run.run().outcome is Outcome.SUCCEEDED
    cohorts = [record["cohort"] for record in run.records("CohortChosen")]
    assert cohorts[1] == ["site-0", "site-1"]
    assert cohorts[-1] == ["site-0", "site-1", "site-2"]


def test_rounds_may_grow_while_the_job_runs(tmp_path: Path) -> None:
    run = LocalJob(job(rounds=2), tmp_path)
    run.once(RoundState.TRAINING, 0, lambda: run.folder.control.write_text('{"rounds": 4}'))
    assert run.run().outcome is Outcome.SUCCEEDED
    assert [number for number, _, _ in run.metrics()] == [1, 2, 3, 4]


def test_a_process_that_keeps_crashing_ends_the_job_after_the_backoff_limit(tmp_path: Path) -> None:
    run = LocalJob(job(backoffLimit=1), tmp_path)
    program = run.supervisor.programs["server-0"]
    run.supervisor.programs["server-0"] = type(program)(
        program.process, "fljob_runtime.no_such_module", (), program.log
    )
    finish = run.run()
    assert (finish.outcome, finish.reason) == (Outcome.FAILED, "BackoffLimitExceeded")
    assert "no_such_module" in finish.message


def test_a_folder_with_another_job_is_refused(tmp_path: Path) -> None:
    LocalJob(job(), tmp_path)
    with pytest.raises(LocalRunError, match=r"another spec\.seed; choose another --run-dir"):
        LocalJob(job(seed=1), tmp_path)


SCRIPT = """
import sys
from pathlib import Path
from integration.local_jobs import LocalJob, job
run = LocalJob(job(rounds=500), Path(sys.argv[1]))
run.once("Training", 1, lambda: print("training", flush=True))
run.run()
"""


def test_processes_die_with_the_one_that_started_them(tmp_path: Path) -> None:
    tests = Path(__file__).resolve().parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(tests)},
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"training\n"
        family = descendants(parent.pid)
        parent.kill()
    assert len(family) == 6  # coordinator, server, nursery and three trainers
    assert ended_within(10.0, lambda: not [pid for pid in family if alive(pid)])


def test_an_interrupt_leaves_no_process_behind(tmp_path: Path) -> None:
    family: list[int] = []
    others = set(descendants(os.getpid()))  # of other tests' fixtures, such as a cluster

    def interrupt() -> None:
        family.extend(set(descendants(os.getpid())) - others)
        raise KeyboardInterrupt

    run = LocalJob(job(), tmp_path)
    run.once(RoundState.TRAINING, 1, interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert len(family) == 6  # coordinator, server, nursery and three trainers
    wait_until("all processes of the run to be gone", lambda: not any(alive(pid) for pid in family), 10)


def test_progress_ends_with_the_models_digest(tmp_path: Path) -> None:
    run = LocalJob(job(sites=1, rounds=1), tmp_path)
    run.run()
    written = json.loads(run.folder.progress.read_text())
    assert written["training"]["round"] == 1
    assert written["training"]["modelDigest"] == f"sha256:{hashlib.sha256(run.model()).hexdigest()}"


def descendants(pid: int) -> list[int]:
    """Return the processes below this one."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        parents[int(stat.parent.name)] = int(fields[1])
    found = [pid]
    for one in found:
        found.extend(child for child, parent in parents.items() if parent == one)
    return found[1:]


def alive(pid: int) -> bool:
    """Whether a process runs (one that ended and is not yet reaped does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def ended_within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Wait for a condition, looking twenty times a second."""
    clock = threading.Event()
    for _ in range(int(seconds * 20)):
        if condition():
            return True
        clock.wait(0.05)
    return condition()
