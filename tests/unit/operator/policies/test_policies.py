"""Each policy by hand: quorum, failure, deadlines, clean-up, suspension."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fljob_api.progress import Outcome, RoundState, TrainerProgress
from fljob_operator.observed import Observed
from fljob_operator.policies import cleanup, deadlines, suspension
from fljob_operator.policies.failure import failed_trainers, failure
from fljob_operator.policies.quorum import allowed_failures, cohort_size, quorum
from fljob_operator.policies.suspension import Step
from support.operator_values import NOW, all_jobs, finish, fljob, job_view, pod, progress, running


@pytest.mark.parametrize(
    ("spec", "cohort", "needed", "may_fail"),
    [
        ({}, 10, 10, 0),
        ({"quorum": {"minTrainers": "75%"}}, 10, 8, 2),
        ({"quorum": {"minTrainers": 3}}, 10, 3, 7),
        ({"quorum": {"minTrainers": "50%"}, "participation": {"percent": 50}}, 5, 3, 7),
        ({"participation": {"count": 4}}, 4, 4, 6),
        ({"quorum": {"minTrainers": 3}, "failurePolicy": {"maxFailedTrainers": 1}}, 10, 3, 1),
        ({"failurePolicy": {"maxFailedTrainers": 5}}, 10, 10, 0),
    ],
)
def test_quorum_by_hand(spec: dict[str, Any], cohort: int, needed: int, may_fail: int) -> None:
    job = fljob(trainers=10, **spec).spec
    assert (cohort_size(job), quorum(job), allowed_failures(job)) == (cohort, needed, may_fail)


FAILED = {"failed": True, "fail_reason": "PodFailurePolicy", "fail_message": "exit code 12"}


def test_a_trainer_that_failed_for_good_fails_a_job_that_needs_all() -> None:
    observed = Observed(
        jobs=all_jobs(site_1=FAILED), pods=(pod(trainer="site-1", exit_code=12, message="x.parquet: bad"),)
    )
    found = failure(running(), observed)
    assert found is not None
    assert (found.role, found.trainer, found.exit_code, found.reason) == ("trainer", "site-1", 12, "BadData")
    assert found.message.startswith("x.parquet: bad")


def test_a_trainer_that_may_fail_does_not_fail_the_job() -> None:
    observed = Observed(jobs=all_jobs(site_1=FAILED), pods=(pod(trainer="site-1", exit_code=12),))
    assert failure(running(quorum={"minTrainers": 1}), observed) is None
    assert [f.trainer for f in failed_trainers(observed)] == ["site-1"]


def test_one_kill_for_memory_is_tried_again_and_the_second_is_explained() -> None:
    killed = pod(exit_code=137, out_of_memory=True, memory_limit="96Mi")
    assert failure(running(), Observed(jobs=all_jobs(), pods=(killed,))) is None
    found = failure(running(), Observed(jobs=all_jobs(), pods=(killed, killed)))
    assert found is not None
    assert found.reason == "OutOfMemory"
    assert "96Mi" in found.message


def test_a_kill_that_was_not_for_memory_is_not_called_so() -> None:
    gone = {"failed": True, "fail_reason": "BackoffLimitExceeded", "fail_message": "limit"}
    found = failure(running(), Observed(jobs=all_jobs(server=gone), pods=(pod("server", exit_code=137),)))
    assert found is not None
    assert found.reason == "BackoffLimitExceeded"


def test_crashes_up_to_the_limit_are_named_after_the_limit() -> None:
    gone = {"failed": True, "fail_reason": "BackoffLimitExceeded", "fail_message": "limit"}
    found = failure(running(), Observed(jobs=all_jobs(server=gone), pods=(pod("server", exit_code=1, message="boom"),)))
    assert found is not None
    assert (found.role, found.reason) == ("server", "BackoffLimitExceeded")
    assert "boom" in found.message


def test_a_failed_job_without_a_pod_says_what_the_controller_said() -> None:
    gone = {"failed": True, "fail_reason": "DeadlineExceeded", "fail_message": "was active too long"}
    found = failure(running(), Observed(jobs=all_jobs(coordinator=gone)))
    assert found is not None
    assert found.message == "DeadlineExceeded: was active too long"


def test_the_coordinators_word_counts() -> None:
    told = progress(finish=finish(Outcome.FAILED, "Diverged", "loss is nan", 22))
    found = failure(running(), Observed(jobs=all_jobs(), progress=told))
    assert found is not None
    assert (found.role, found.reason, found.exit_code) == ("coordinator", "Diverged", 22)


def test_where_trainers_made_the_quorum_impossible_their_reason_comes_first() -> None:
    told = progress(finish=finish(Outcome.FAILED, "QuorumImpossible", "site-1 failed", 20))
    observed = Observed(jobs=all_jobs(site_1=FAILED), pods=(pod(trainer="site-1", exit_code=12),), progress=told)
    found = failure(running(), observed)
    assert found is not None
    assert (found.trainer, found.reason) == ("site-1", "BadData")
    assert "site-1 failed" in found.message


def test_a_trainer_that_told_of_its_end_is_believed_before_its_pod_is_seen_to_end() -> None:
    told = progress(finish=finish(Outcome.FAILED, "QuorumImpossible", "site-1 failed", 20))
    site = TrainerProgress(name="site-1", state="Failed", exit_code=12, message="manifest.json: torn")
    observed = Observed(jobs=all_jobs(), progress=told.model_copy(update={"trainers": [site]}))
    found = failure(running(), observed)
    assert found is not None
    assert (found.role, found.trainer, found.reason, found.exit_code) == ("trainer", "site-1", "BadData", 12)
    assert found.message.startswith("manifest.json: torn")


def test_a_server_that_ends_after_success_is_no_failure() -> None:
    told = progress(finish=finish(Outcome.SUCCEEDED))
    assert failure(running(), Observed(jobs=all_jobs(server=FAILED), progress=told)) is None


def test_the_startup_deadline_counts_until_the_quorum_was_seen() -> None:
    job = running(startupDeadlineSeconds=60)
    waiting = Observed(progress=progress(state=RoundState.WAITING))
    found = deadlines.overdue(job, waiting, "image missing", NOW)
    assert found is not None
    assert (found.reason, "image missing" in found.message) == ("StartupTimeout", True)
    assert deadlines.overdue(job, Observed(progress=progress()), "", NOW) is None


def test_a_restarted_coordinator_does_not_start_the_startup_deadline_again() -> None:
    seen = {
        "type": "QuorumAvailable",
        "status": "True",
        "reason": "QuorumPresent",
        "lastTransitionTime": "2026-03-01T11:59:10Z",
    }
    job = running(startupDeadlineSeconds=1, status={"conditions": [seen]})
    assert deadlines.overdue(job, Observed(progress=progress(state=RoundState.WAITING)), "", NOW) is None


def test_suspended_time_does_not_count_as_active() -> None:
    job = running(activeDeadlineSeconds=100, status={"activeSeconds": 39})
    assert deadlines.active_seconds(job, NOW) == 99
    assert deadlines.overdue(job, Observed(progress=progress()), "", NOW) is None
    found = deadlines.overdue(job, Observed(progress=progress()), "", NOW + timedelta(seconds=1))
    assert found is not None
    assert found.reason == "DeadlineExceeded"


def test_the_next_look_is_at_the_nearer_deadline() -> None:
    job = running(activeDeadlineSeconds=100, startupDeadlineSeconds=70)
    assert deadlines.next_deadline_s(job, Observed(), NOW) == 10
    assert deadlines.next_deadline_s(job, Observed(progress=progress()), NOW) == 40


def ended(seconds: int, **spec: Any) -> Any:
    stamp = (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return running(status={"completionTime": stamp}, **spec)


def test_running_pods_get_time_to_end_by_themselves() -> None:
    observed = Observed(jobs=all_jobs(coordinator={"complete": True}))
    assert cleanup.to_delete(ended(5), observed, NOW) == ((), 10.0)
    doomed, more = cleanup.to_delete(ended(20), observed, NOW)
    assert {d.name for d in doomed} == {"movies-server-0", "movies-trainer-site-0", "movies-trainer-site-1"}
    assert more is None


def test_clean_pod_policies() -> None:
    observed = Observed(jobs=all_jobs(coordinator={"complete": True}))
    everything, _ = cleanup.to_delete(ended(20, cleanPodPolicy="All"), observed, NOW)
    assert len(everything) == 4
    assert cleanup.to_delete(ended(20, cleanPodPolicy="None"), observed, NOW) == ((), None)


def test_time_to_live_counts_from_the_end() -> None:
    assert cleanup.time_to_live_s(ended(20, ttlSecondsAfterFinished=30), NOW) == 10
    assert cleanup.time_to_live_s(ended(40, ttlSecondsAfterFinished=30), NOW) == 0
    assert cleanup.time_to_live_s(ended(40), NOW) is None


CHECKPOINT = {"persistentVolumeClaim": {"claimName": "ckpt"}}


def suspended(reason: str, since: str = "2026-03-01T11:59:50Z", **spec: Any) -> Any:
    status = "True" if reason == "Suspended" else "False"
    condition = {"type": "Suspended", "status": status, "reason": reason, "lastTransitionTime": since}
    return running(checkpoint=CHECKPOINT, status={"conditions": [condition]}, **spec)


@pytest.mark.parametrize(
    ("job", "observed", "step"),
    [
        (running(), Observed(), Step.ACTIVE),
        (suspended("NotSuspended", suspend=True), Observed(jobs=all_jobs()), Step.PAUSING),
        (suspended("Suspending", suspend=True), Observed(jobs=all_jobs()), Step.PAUSING),
        (
            suspended("Suspending", suspend=True),
            Observed(jobs=all_jobs(), progress=progress(finish=finish(Outcome.PAUSED))),
            Step.STOPPING,
        ),
        (
            suspended("Suspending", "2026-03-01T11:58:00Z", suspend=True, suspendGracePeriodSeconds=30),
            Observed(jobs=all_jobs()),
            Step.STOPPING,
        ),
        (suspended("Suspending", suspend=True), Observed(), Step.SUSPENDED),
        (suspended("Suspended", suspend=True), Observed(), Step.SUSPENDED),
        (suspended("Suspended"), Observed(), Step.RESUMING),
        (suspended("Suspending"), Observed(jobs=all_jobs()), Step.ACTIVE),
        (
            suspended("Suspending"),
            Observed(jobs=all_jobs(), progress=progress(finish=finish(Outcome.PAUSED))),
            Step.RESUMING,
        ),
    ],
)
def test_steps_of_suspension(job: Any, observed: Observed, step: Step) -> None:
    assert suspension.step(job, observed, NOW) is step


def test_job_view_names_match_the_operators() -> None:
    assert job_view().name == "movies-trainer-site-0"
