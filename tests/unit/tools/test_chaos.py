"""What a disturbed run is held against, and that a seed says what is done to it."""

from __future__ import annotations

import dataclasses
import signal

from chaos import Outcomes, Spans, judge, schedule

from fljob_api.progress import Finish, Outcome

PROCESSES = ["coordinator", "server-0", "server-1", "trainer-site-0"]
DONE = Finish(outcome=Outcome.SUCCEEDED, reason="Completed", message="", exit_code=0)
QUIET = Outcomes(DONE, {1: frozenset({(0.7, 0.5)}), 2: frozenset({(0.6, 0.75)})}, b"model", Spans(1.0, 1.0))


def test_a_seed_names_the_strikes() -> None:
    assert schedule(5, PROCESSES) == schedule(5, PROCESSES)
    assert schedule(5, PROCESSES) != schedule(6, PROCESSES)


def test_no_process_is_killed_twice_in_the_manner_of_the_oom_killer() -> None:
    for seed in range(300):
        killed = [s.process for s in schedule(seed, PROCESSES) if s.number is signal.SIGKILL]
        assert len(set(killed)) == len(killed)


def test_every_process_is_killed_and_paused_by_some_seed() -> None:
    struck = {(s.process, s.number) for seed in range(100) for s in schedule(seed, PROCESSES)}
    assert struck >= {(p, n) for p in PROCESSES for n in (signal.SIGKILL, signal.SIGSTOP)}


def test_the_same_outcomes_are_no_fault() -> None:
    assert judge(QUIET, QUIET, None) == ""


def test_a_metric_off_by_one_bit_is_a_fault() -> None:
    other = {**QUIET.metrics, 1: frozenset({(0.7000000000000001, 0.5)})}
    assert "0.7000000000000001" in judge(dataclasses.replace(QUIET, metrics=other), QUIET, None)


def test_a_repeated_round_with_other_metrics_is_a_fault() -> None:
    other = {**QUIET.metrics, 1: frozenset({(0.7, 0.5), (0.8, 0.5)})}
    assert "0.8" in judge(dataclasses.replace(QUIET, metrics=other), QUIET, None)


def test_another_model_is_a_fault() -> None:
    assert "bytes differ" in judge(dataclasses.replace(QUIET, model=b"other"), QUIET, None)


def test_where_the_mode_is_not_exact_the_last_auc_counts_and_a_band_is_given() -> None:
    near = dataclasses.replace(QUIET, metrics={2: frozenset({(0.6, 0.7)})}, model=b"other")
    far = dataclasses.replace(QUIET, metrics={2: frozenset({(0.6, 0.6)})})
    assert judge(near, QUIET, 0.1) == ""
    assert judge(far, QUIET, 0.1) == "AUC 0.6, undisturbed 0.75"


def test_a_run_without_metrics_is_out_of_the_band() -> None:
    assert judge(dataclasses.replace(QUIET, metrics={}), QUIET, 0.1) == "AUC nan, undisturbed 0.75"


def test_a_failed_job_is_a_fault_and_says_why() -> None:
    finish = Finish(outcome=Outcome.FAILED, reason="DeadlineExceeded", message="too long", exit_code=1)
    assert judge(dataclasses.replace(QUIET, finish=finish), QUIET, None) == "ended with DeadlineExceeded: too long"
