"""Has a role failed for good, and what should a person know of it."""

from __future__ import annotations

from fljob_api import names
from fljob_api.conditions import Reason
from fljob_api.exit_codes import ExitCode, meaning
from fljob_api.fljob import FLJob
from fljob_api.progress import Finish, Outcome
from fljob_api.status import Failure
from fljob_operator.observed import JobView, Observed, PodView
from fljob_operator.policies.quorum import allowed_failures

MAX_OUT_OF_MEMORY = 2  # the first kill is tried again, the second is the answer


def failed_trainers(observed: Observed) -> tuple[Failure, ...]:
    """Return the trainers that failed for good, each with its reason."""
    views = sorted(observed.jobs.values(), key=lambda view: view.name)
    found = (_child_failure(view, observed) for view in views if view.role == names.ROLE_TRAINER)
    return tuple(failure for failure in found if failure)


def failure(job: FLJob, observed: Observed) -> Failure | None:
    """Return why the whole job has failed, None while it has not."""
    finish = observed.progress.finish if observed.progress else None
    trainers = failed_trainers(observed)
    if finish and finish.outcome is Outcome.FAILED:
        return _coordinators_word(finish, trainers, _told(observed))
    for role in (names.ROLE_SERVER, names.ROLE_COORDINATOR):
        for view in observed.jobs.values():
            if view.role == role and not (finish and finish.outcome is Outcome.SUCCEEDED):
                found = _child_failure(view, observed)
                if found:
                    return found
    if len(trainers) > allowed_failures(job.spec):
        return trainers[0]
    return None


def _told(observed: Observed) -> tuple[Failure, ...]:
    """Return the trainers that told the coordinator of their end; their pods' own end may not be seen yet."""
    trainers = observed.progress.trainers if observed.progress else []
    return tuple(
        Failure(
            role=names.ROLE_TRAINER,
            trainer=t.name,
            exit_code=t.exit_code,
            reason=meaning(t.exit_code).reason,
            message=f"{t.message} {meaning(t.exit_code).help}"[:1024],
        )
        for t in trainers
        if t.state == "Failed" and t.exit_code is not None
    )


def _coordinators_word(finish: Finish, trainers: tuple[Failure, ...], told: tuple[Failure, ...]) -> Failure:
    """Where the coordinator gave up because of a trainer, the trainer's own reason comes first."""
    reason, message, code = finish.reason, finish.message, finish.exit_code
    trainers = trainers or told
    if code == ExitCode.QUORUM_IMPOSSIBLE and trainers:
        first = trainers[0]
        return first.model_copy(update={"message": f"{first.message} ({message})"[:1024]})
    return Failure(role=names.ROLE_COORDINATOR, exit_code=code, reason=reason, message=message[:1024])


def _child_failure(view: JobView, observed: Observed) -> Failure | None:
    ended = [pod for pod in observed.pods_of(view.name) if pod.exit_code not in (None, 0)]
    killed = [pod for pod in ended if pod.out_of_memory]
    if len(killed) >= MAX_OUT_OF_MEMORY:
        return _of_pod(view, killed[-1])
    if not view.failed:
        return None
    if not ended:
        message = f"{view.fail_reason}: {view.fail_message}"[:1024]
        return Failure(role=view.role, trainer=view.trainer, reason=_reason(view, "Failed"), message=message)
    return _of_pod(view, ended[-1])


def _of_pod(view: JobView, pod: PodView) -> Failure:
    code = pod.exit_code if pod.exit_code is not None else int(ExitCode.CRASH)
    what = meaning(code)
    reason, words = what.reason, pod.message or f"exit code {code}"
    if pod.out_of_memory:
        limit = f" at its memory limit of {pod.memory_limit}" if pod.memory_limit else " for lack of memory on its node"
        words = f"the container was killed{limit}"
    elif code == ExitCode.OUT_OF_MEMORY:
        reason, words = _reason(view, "Killed"), f"the container was killed (SIGKILL). {pod.message}".strip()
    elif view.fail_reason == "BackoffLimitExceeded":
        reason = Reason.BACKOFF_LIMIT_EXCEEDED.value
    return Failure(
        role=view.role,
        trainer=view.trainer,
        exit_code=code,
        reason=reason,
        message=f"{words} {what.help}".strip()[:1024],
    )


def _reason(view: JobView, otherwise: str) -> str:
    known = {reason.value for reason in Reason}
    return view.fail_reason if view.fail_reason in known else otherwise
