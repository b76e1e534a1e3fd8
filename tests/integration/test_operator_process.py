"""The operator as a process: its pages, its lease, its death and return, missing rights, an API server that is away."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from integration.operator_bed import ACCOUNT, Bed, Operator

from fljob_operator.rbac import OWN, WATCHED, Rule
from support.processes import Process, wait_until

pytestmark = [pytest.mark.controllers, pytest.mark.timeout(240)]
OUTAGE_S = 20.0
MakeBed = Callable[[], Bed]


def kill(operator: Operator) -> None:
    operator.process.popen.send_signal(signal.SIGKILL)
    operator.process.popen.wait(10)


def without(resource: str) -> tuple[Rule, ...]:
    return tuple(rule for rule in (*WATCHED, *OWN) if resource not in rule.resources)


def uids(bed: Bed, job: str) -> dict[tuple[str, str], str]:
    return {key: item["metadata"]["uid"] for key, item in bed.children(job).items()}


def holder(bed: Bed) -> str:
    found: str = bed.get("Lease", "fljob-operator").get("spec", {}).get("holderIdentity", "")
    return found


def test_the_pages_of_a_leader(bed: Bed, operator: Operator) -> None:
    bed.submit("seen")
    operator.wait("the job's metrics", lambda: 'job="seen"' in operator.get("/metrics")[1])
    assert operator.get("/healthz") == (200, "ok\n")
    assert operator.get("/readyz") == (200, "ok\n")
    assert operator.metric("fljob_operator_leader") == 1.0
    assert operator.metric("fljob_operator_children_applied_total") >= 18.0
    assert operator.metric('fljob_operator_jobs{state="Starting"}') == 1.0


def test_settings_that_are_missing_end_it_with_their_name() -> None:
    command = [sys.executable, "-m", "fljob_operator.main"]
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "FLJOB_RUNTIME_IMAGE must name the image" in done.stderr


def test_asked_to_end_it_gives_the_lease_back(bare_bed: MakeBed) -> None:
    bed = bare_bed().prepare()
    operator = bed.start("leaver").leads()
    assert holder(bed) == "leaver"
    operator.process.popen.send_signal(signal.SIGTERM)
    assert operator.process.popen.wait(30) == 0, operator.log()
    assert holder(bed) == ""


@pytest.mark.parametrize("reached", [1, 6, 14])
def test_killed_and_started_again_it_makes_nothing_twice(bare_bed: MakeBed, reached: int) -> None:
    bed = bare_bed().prepare()
    bed.submit("movies")
    first = bed.start()
    first.wait(f"{reached} children", lambda: len(bed.children("movies")) >= reached)
    kill(first)
    before = uids(bed, "movies")
    second = bed.start()
    second.wait("the child Jobs", lambda: bed.num_jobs("movies") == 4)
    second.wait("the status", lambda: bed.status("movies").get("incarnation") == 1)
    after = uids(bed, "movies")
    assert len(after) == 21
    assert before.items() <= after.items()


def test_started_again_over_a_settled_job_it_writes_nothing(bare_bed: MakeBed) -> None:
    bed = bare_bed().prepare()
    first = bed.start(FLJOB_RESYNC_SECONDS="600")
    bed.submit("movies")
    first.wait("the status", lambda: bed.status("movies").get("observedGeneration") == 1)
    kill(first)
    keys = (*bed.children("movies"), ("FLJob", "movies"))

    def versions() -> dict[tuple[str, str], str]:
        """Those of Jobs and progress move with their controllers'; what the operator writes is all the rest."""
        return {key: bed.get(*key)["metadata"]["resourceVersion"] for key in keys if key[0] != "Job"}

    before = versions()
    second = bed.start()
    second.wait("two looks at it", lambda: second.metric("fljob_operator_reconcile_total") >= 2.0)
    assert versions() == before
    assert second.metric('fljob_operator_reconcile_total{result="error"}') == 0.0


def test_the_standby_takes_over_when_the_leader_is_killed(bare_bed: MakeBed) -> None:
    bed = bare_bed().prepare()
    leader = bed.start("leader", FLJOB_LEASE_SECONDS="4").leads()
    standby = bed.start("standby", FLJOB_LEASE_SECONDS="4")
    standby.wait("the standby to be ready", lambda: standby.get("/readyz")[0] == 200)
    assert standby.metric("fljob_operator_leader") == 0.0
    kill(leader)
    killed = time.monotonic()
    standby.leads()
    assert time.monotonic() - killed >= 2.0, "took the lease before it was over"
    assert holder(bed) == "standby"
    bed.submit("after")
    standby.wait("the child Jobs", lambda: bed.num_jobs("after") == 4)


def test_of_two_at_once_one_leads_and_one_stands_by(bare_bed: MakeBed) -> None:
    bed = bare_bed().prepare()
    pair = [bed.start("left"), bed.start("right")]

    def leaders() -> float:
        return sum(operator.metric("fljob_operator_leader") for operator in pair)

    wait_until("a leader", lambda: leaders() > 0.0, 60, *(operator.process for operator in pair))
    ready = lambda: all(operator.get("/readyz")[0] == 200 for operator in pair)  # noqa: E731
    wait_until("both to be ready", ready, 60, *(operator.process for operator in pair))
    assert leaders() == 1.0
    assert holder(bed) in {"left", "right"}


def test_a_missing_right_on_a_child_is_said_where_the_user_looks(bare_bed: MakeBed) -> None:
    seen_only = Rule("networking.k8s.io", ("networkpolicies",), ("list", "watch"))
    bed = bare_bed().prepare((*without("networkpolicies"), seen_only))
    operator = bed.start()
    bed.submit("movies")
    operator.wait("a word on it", lambda: bed.condition("movies", "ResourcesReady")[1] == "ApplyFailed")
    status, _, message = bed.condition("movies", "ResourcesReady")
    assert status == "False"
    assert 'cannot patch resource "networkpolicies"' in message


def test_a_missing_right_to_list_fljobs_is_said_and_once_given_it_goes_on(bare_bed: MakeBed) -> None:
    bed = bare_bed().prepare(without("fljobs"))
    bed.submit("movies")
    operator = bed.start()
    operator.wait("the word on it", lambda: 'cannot list resource "fljobs"' in operator.log())
    bed.patch("Role", ACCOUNT, {"rules": [rule.manifest() for rule in (*WATCHED, *OWN)]})
    operator.wait("the child Jobs", lambda: bed.num_jobs("movies") == 4)


def test_without_a_right_to_leases_it_says_so_and_stands_by(bare_bed: MakeBed) -> None:
    bed = bare_bed().prepare(WATCHED)
    operator = bed.start()
    operator.wait("the word on leases", lambda: 'cannot get resource "leases"' in operator.log())
    assert operator.get("/readyz")[0] == 200
    assert operator.metric("fljob_operator_leader") == 0.0


def test_an_api_server_that_is_away_for_a_while_stops_nobody_for_good(bare_bed: MakeBed) -> None:
    """The one with the long lease carries on; the one whose lease is over ends, and carries on when started again."""
    patient, hasty = bare_bed().prepare(), bare_bed().prepare()
    long = patient.start(FLJOB_LEASE_SECONDS="90").leads()
    short = hasty.start(FLJOB_LEASE_SECONDS="6").leads()
    patient.submit("before")
    long.wait("the child Jobs", lambda: patient.num_jobs("before") == 4)
    kept = uids(patient, "before")
    patient.plane.stop_apiserver()
    away = time.monotonic()
    try:
        assert short.process.popen.wait(OUTAGE_S) == 1
        again = hasty.start(FLJOB_LEASE_SECONDS="6")
        left: tuple[Process, ...] = (long.process, again.process)
        wait_until("the outage to last", lambda: time.monotonic() - away >= OUTAGE_S, OUTAGE_S + 5, *left)
    finally:
        patient.plane.start_apiserver()
    assert "lost" in short.log()
    for bed, operator in ((patient, long), (hasty, again)):
        bed.submit("after")
        operator.wait("the child Jobs", lambda bed=bed: bed.num_jobs("after") == 4)  # type: ignore[misc]
    assert uids(patient, "before") == kept
