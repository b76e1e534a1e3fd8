"""reconcile: pure, level-triggered, terminal states final, a fixed point whatever was there before."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fljob_api import names
from fljob_api.conditions import ConditionType
from fljob_api.fljob import FLJob
from fljob_api.progress import Metric, Outcome, RoundState, Training
from fljob_api.status import TrainerCounts
from fljob_operator.conditions import find, is_true
from fljob_operator.decision import Decision, Delete
from fljob_operator.desired.roles import members
from fljob_operator.desired.support import config_manifest, support_manifests
from fljob_operator.display import columns
from fljob_operator.observed import JobView, Observed
from fljob_operator.reconcile import reconcile
from support.operator_values import DEFAULTS, NOW, all_jobs, finish, fljob, pod, progress, running


def decide(job: FLJob, observed: Observed, seconds: float = 0.0, problems: tuple[str, ...] = ()) -> Decision:
    return reconcile(job, observed, NOW + timedelta(seconds=seconds), DEFAULTS, problems)


def after(job: FLJob, decision: Decision) -> FLJob:
    return job.model_copy(update={"status": decision.status})


def everything(job: FLJob, **changes: Any) -> Observed:
    """All children present and unchanged, all pods ready."""
    manifests = [*support_manifests(job, job.status.incarnation), config_manifest(job, job.status.incarnation)]
    hashes = {
        (m["kind"], m["metadata"]["name"]): m["metadata"]["annotations"][names.ANNOTATION_HASH] for m in manifests
    }
    pods = tuple(
        pod(role, trainer, ready=True)
        for role, trainer in (("coordinator", ""), ("server", ""), ("trainer", "site-0"), ("trainer", "site-1"))
    )
    return replace(Observed(hashes=hashes, jobs=all_jobs(), pods=pods), **changes)


def names_of(decision: Decision) -> set[tuple[str, str]]:
    return {(m["kind"], m["metadata"]["name"]) for m in (*decision.apply, *decision.create)}


def condition(decision: Decision, kind: ConditionType) -> tuple[str, str, str]:
    found = find(decision.status.conditions, kind)
    assert found is not None
    return found.status.value, found.reason, found.message


def test_a_new_fljob_gets_all_children_and_its_first_incarnation() -> None:
    decision = decide(fljob(), Observed(secrets=frozenset()))
    made = names_of(decision)
    assert {("Job", m.child) for m in members(fljob())} <= made
    config = names.config("movies", fljob().metadata.uid, 1)
    assert {("ConfigMap", config), ("Service", "movies-fl"), ("NetworkPolicy", "movies-deny")} <= made
    assert [m.child for m in decision.certificates] == [m.child for m in members(fljob())]
    assert (decision.status.incarnation, decision.status.start_time) == (1, "2026-03-01T12:00:00Z")
    assert decision.status.state == "Starting"


def test_nothing_is_written_when_all_is_there() -> None:
    job = running()
    first = decide(job, everything(job, progress=progress()))
    job = after(job, first)
    second = decide(job, everything(job, progress=progress()))
    assert (second.apply, second.create, second.delete, second.certificates) == ((), (), (), ())
    assert second.status == job.status
    assert second.events == ()


def test_a_resync_applies_again_what_may_have_drifted_but_never_a_running_job() -> None:
    job = running()
    decision = decide(job, everything(job, resync=True))
    assert ("NetworkPolicy", "movies-deny") in names_of(decision)
    assert not {kind for kind, _ in names_of(decision)} & {"Job"}


def test_a_child_that_is_gone_is_made_again() -> None:
    job = running()
    jobs = {k: v for k, v in all_jobs().items() if k != "movies-server-0"}
    assert names_of(decide(job, everything(job, jobs=jobs))) == {("Job", "movies-server-0")}


def test_an_invalid_spec_makes_nothing_and_says_where() -> None:
    decision = decide(fljob(), Observed(), problems=("spec.model.name: no model 'ncff'",))
    assert names_of(decision) == set()
    assert condition(decision, ConditionType.ACCEPTED) == ("False", "InvalidSpec", "spec.model.name: no model 'ncff'")
    assert decision.status.state == "Invalid"
    assert [e.reason for e in decision.events] == ["InvalidSpec"]


def test_children_of_a_former_fljob_are_waited_for() -> None:
    decision = decide(fljob(), Observed(foreign=("Job/movies-server-0",)))
    assert names_of(decision) == set()
    assert condition(decision, ConditionType.RESOURCES_READY)[1] == "FormerChildTerminating"
    assert decision.requeue_after_s is not None


def test_progress_is_folded_into_columns() -> None:
    job = running()
    status = decide(job, everything(job, progress=progress())).status
    assert status.display is not None
    assert (status.display.round, status.display.trainers) == ("3/5", "2/2")
    assert (status.display.loss, status.display.auc) == ("0.5000", "0.8000")
    assert status.state == "Running"


def test_the_score_column_names_the_headline_metric() -> None:
    training = Training(headline="Recall@20", metrics=[Metric(name="Recall@20", value="0.31416", round=3)])
    shown = columns(training, 4, TrainerCounts(), "")
    assert (shown.auc, shown.score) == ("", "Recall@20=0.3142")


def test_progress_is_not_folded_too_often() -> None:
    job = running()
    status = decide(job, everything(job, progress=progress(), fold_progress=False)).status
    assert status.training is None


def test_success_is_final_and_notes_the_model() -> None:
    job = running(checkpoint={"persistentVolumeClaim": {"claimName": "ckpt"}})
    told = progress(state=RoundState.DONE, finish=finish(Outcome.SUCCEEDED), model_uri="u/model", model_digest="d")
    decision = decide(job, everything(job, progress=told, fold_progress=False))
    assert decision.status.state == "Succeeded"
    assert decision.status.completion_time == "2026-03-01T12:00:00Z"
    assert decision.annotate is not None
    assert decision.annotate["metadata"]["name"] == "ckpt"
    later = decide(after(job, decision), Observed(), seconds=60)
    assert names_of(later) == set()
    assert later.status.conditions == decision.status.conditions


def test_a_checkpoint_behind_a_uri_is_told_with_it_and_marks_no_claim() -> None:
    job = running(checkpoint={"uri": "s3://bucket/folder"})
    told = progress(finish=finish(Outcome.SUCCEEDED), checkpoint="version 3", model_uri="u/model", model_digest="d")
    decision = decide(job, everything(job, progress=told))
    words = ("True", "Checkpointed", "version 3 at s3://bucket/folder")
    assert condition(decision, ConditionType.CHECKPOINT_READY) == words
    assert decision.annotate is None


def test_failure_is_final_and_says_who_and_why() -> None:
    job = running()
    gone = {"failed": True, "fail_reason": "PodFailurePolicy", "fail_message": "x"}
    observed = everything(
        job, jobs=all_jobs(site_1=gone), pods=(pod(trainer="site-1", exit_code=12, message="bad file"),)
    )
    decision = decide(job, observed)
    assert decision.status.failure is not None
    assert decision.status.failure.reason == "BadData"
    assert condition(decision, ConditionType.FAILED)[2].startswith("trainer site-1: bad file")
    assert names_of(decide(after(job, decision), Observed(), seconds=60)) == set()


def test_a_tolerated_failure_degrades() -> None:
    job = running(quorum={"minTrainers": 1})
    gone = {"failed": True, "fail_reason": "PodFailurePolicy", "fail_message": "x"}
    observed = everything(
        job, jobs=all_jobs(site_1=gone), pods=(pod(trainer="site-1", exit_code=12),), progress=progress()
    )
    decision = decide(job, observed)
    assert condition(decision, ConditionType.DEGRADED)[:2] == ("True", "TrainerFailed")
    assert decision.status.state == "Degraded"
    rows = [(row.name, row.state) for row in decision.status.trainers]
    assert rows[0] == ("site-1", "Failed")


def test_what_keeps_a_pod_from_running_is_said_in_its_own_words() -> None:
    job = running()
    stuck = pod(phase="Pending", trouble_reason="ImagePullFailed", trouble="ErrImagePull: no such image")
    decision = decide(job, everything(job, pods=(stuck,)))
    assert condition(decision, ConditionType.RESOURCES_READY) == (
        "False",
        "ImagePullFailed",
        "movies-trainer-site-0: ErrImagePull: no such image",
    )


CKPT: dict[str, Any] = {"checkpoint": {"persistentVolumeClaim": {"claimName": "ckpt"}}}


def test_suspend_waits_for_the_border_then_stops_then_resumes_as_the_next_incarnation() -> None:
    job = running(suspend=True, **CKPT)
    pausing = decide(job, everything(job, progress=progress()))
    assert (pausing.delete, pausing.status.state) == ((), "Suspending")
    job = after(job, pausing)
    paused = progress(state=RoundState.PAUSED, finish=finish(Outcome.PAUSED))
    stopping = decide(job, everything(job, progress=paused))
    assert {d.name for d in stopping.delete} == set(all_jobs())
    job = after(job, stopping)
    done = decide(job, Observed(progress=paused), seconds=10)
    assert (done.status.state, done.status.active_seconds, done.status.resume_time) == ("Suspended", 70, None)
    job = after(job, done)
    job = job.model_copy(update={"spec": job.spec.model_copy(update={"suspend": False})})
    resumed = decide(job, Observed(progress=paused, secrets=frozenset()), seconds=100)
    assert resumed.status.incarnation == 2
    assert ("ConfigMap", names.config("movies", job.metadata.uid, 2)) in names_of(resumed)
    assert {("Job", m.child) for m in members(job)} <= names_of(resumed)
    assert not is_true(resumed.status.conditions, ConditionType.SUSPENDED)


def test_a_shard_that_is_added_while_the_job_is_suspended_comes_with_the_next_incarnation() -> None:
    job = running(suspend=True, **CKPT)
    more = job.spec.server.model_copy(update={"replicas": job.spec.server.replicas + 1})
    grown = job.model_copy(update={"spec": job.spec.model_copy(update={"server": more})})
    pausing = decide(grown, everything(job, progress=progress()))
    assert (pausing.status.state, [k for k in names_of(pausing) if k[0] == "Job"]) == ("Suspending", [])


def test_a_shard_that_somebody_deletes_while_the_job_is_being_suspended_comes_back() -> None:
    job = running(suspend=True, **CKPT)
    left = {name: view for name, view in all_jobs().items() if name != "movies-server-0"}
    pausing = decide(job, everything(job, progress=progress(), jobs=left))
    assert (pausing.status.state, ("Job", "movies-server-0") in names_of(pausing)) == ("Suspending", True)


def test_a_job_that_is_created_suspended_makes_no_pods() -> None:
    decision = decide(fljob(suspend=True, **CKPT), Observed())
    assert names_of(decision) == set()
    assert decision.status.state == "Suspended"


def test_jobs_of_a_former_incarnation_are_deleted() -> None:
    job = running(status={"incarnation": 2})
    stale = {"movies-server-0": replace(all_jobs()["movies-server-0"], incarnation=1)}
    decision = decide(job, Observed(jobs=stale))
    assert decision.delete == (Delete("Job", "movies-server-0"),)


def test_the_fljob_is_deleted_when_its_time_to_live_is_over() -> None:
    job = running(ttlSecondsAfterFinished=30)
    ended = after(job, decide(job, everything(job, progress=progress(finish=finish(Outcome.SUCCEEDED)))))
    assert not decide(ended, Observed(), seconds=29).delete_self
    assert decide(ended, Observed(), seconds=30).delete_self


views = st.builds(
    lambda complete, failed, deleting, incarnation: {
        "complete": complete,
        "failed": failed,
        "fail_reason": "BackoffLimitExceeded",
        "deleting": deleting,
        "incarnation": incarnation,
    },
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(1, 2),
)
pods = st.lists(
    st.builds(
        lambda role, code, ready, oom: pod(role, exit_code=code, ready=ready, out_of_memory=oom),
        st.sampled_from(["coordinator", "server", "trainer"]),
        st.sampled_from([None, 0, 1, 12, 137, 143]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=4,
)
words = st.one_of(st.none(), st.sampled_from(list(Outcome)))


@given(
    view=views,
    pods=pods,
    word=words,
    present=st.booleans(),
    suspend=st.booleans(),
    fold=st.booleans(),
    missing=st.booleans(),
)
def test_any_observation_reaches_a_fixed_point(  # noqa: PLR0917 - the axes of the observation
    view: dict[str, Any], pods: list[Any], word: Outcome | None, present: bool, suspend: bool, fold: bool, missing: bool
) -> None:
    job = running(suspend=suspend, **CKPT)
    told = progress(finish=finish(word) if word else None) if present else None
    jobs: dict[str, JobView] = {} if missing else all_jobs(server=view, site_0=view)
    observed = everything(job, jobs=jobs, pods=tuple(pods), progress=told, fold_progress=fold, claim_present=True)
    for _ in range(4):
        decision = decide(job, observed)
        job = after(job, decision)
    again = decide(job, observed)
    assert again.status == decision.status
    assert again.events == ()
    terminal = [k for k in (ConditionType.SUCCEEDED, ConditionType.FAILED) if is_true(again.status.conditions, k)]
    assert len(terminal) <= 1
    assert not (terminal and names_of(again))
