"""The real operator on a real API server, with exactly its rights: what becomes of one FLJob."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from integration.operator_bed import MERGE, Bed, Operator

from fljob_api import names
from fljob_operator.policies.renewal import RENEW_AFTER_S

pytestmark = [pytest.mark.controllers, pytest.mark.timeout(180)]
CHECKPOINT = {"persistentVolumeClaim": {"claimName": "models"}}
PAUSED = {"outcome": "Paused", "reason": "Suspended", "message": "", "exitCode": 0}
TRAINING: dict[str, Any] = {"state": "Training", "round": 2, "total": 5, "connected": 2}


def started(bed: Bed, operator: Operator, name: str, **spec: Any) -> dict[str, Any]:
    """Submit an FLJob and wait until its Jobs are there and the status says so."""
    job = bed.submit(name, **spec)
    operator.wait("the child Jobs", lambda: bed.num_jobs(name) == 4)
    operator.wait("the first status", lambda: bed.status(name).get("observedGeneration") == 1)
    return job


@pytest.fixture(scope="module")
def mended(bed: Bed, operator: Operator) -> str:
    """One FLJob for all tests that delete a child."""
    started(bed, operator, "mended")
    return "mended"


@pytest.fixture(autouse=True)
def retire(bed: Bed) -> Iterator[None]:
    """Delete a test's FLJobs after it: the operator looks at all that are there every two seconds."""
    yield
    for item in bed.call("GET", bed.path("FLJob"))["items"]:
        if item["metadata"]["name"] != "mended":
            bed.delete("FLJob", item["metadata"]["name"])


def test_an_fljob_gets_its_children_and_owns_them(bed: Bed, operator: Operator) -> None:
    job = started(bed, operator, "made")
    children = bed.children("made")
    kinds = [kind for kind, _ in children]
    found = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    assert found == {
        "ConfigMap": 2,
        "Job": 4,
        "NetworkPolicy": 4,
        "Role": 1,
        "RoleBinding": 1,
        "Secret": 5,
        "Service": 1,
        "ServiceAccount": 3,
    }
    owners = {child["metadata"]["ownerReferences"][0]["uid"] for child in children.values()}
    assert owners == {job["metadata"]["uid"]}
    assert bed.status("made")["state"] == "Starting"


@pytest.mark.parametrize("kind", ["Job", "Service", "NetworkPolicy", "Role", "ServiceAccount"])
def test_a_deleted_child_comes_back(bed: Bed, operator: Operator, mended: str, kind: str) -> None:
    name = sorted(name for k, name in bed.children(mended) if k == kind)[0]
    before = bed.get(kind, name)["metadata"]["uid"]
    bed.delete(kind, name)
    operator.wait(f"another {kind}", lambda: bed.get(kind, name).get("metadata", {}).get("uid", before) != before)


def test_a_manifest_that_only_the_operator_can_refuse_is_refused_with_its_path(bed: Bed, operator: Operator) -> None:
    bed.submit("wrong", model={"name": "ncff"})
    operator.wait("a word on it", lambda: bed.condition("wrong", "Accepted")[0] == "False")
    _, reason, message = bed.condition("wrong", "Accepted")
    assert reason == "InvalidSpec"
    assert "spec.model.name" in message
    assert bed.children("wrong") == {}


def test_what_the_coordinator_tells_is_folded_into_the_status(bed: Bed, operator: Operator) -> None:
    job = started(bed, operator, "told")
    metrics = [{"name": "AUC", "value": "0.7512", "round": 2}]
    bed.tell_progress(job, 1, training={**TRAINING, "metrics": metrics})
    operator.wait("the round", lambda: bed.status("told").get("display", {}).get("round") == "2/5")
    assert bed.status("told")["display"]["auc"] == "0.7512"
    assert bed.status("told")["state"] == "Running"


def test_success_ends_the_job_and_stays(bed: Bed, operator: Operator) -> None:
    job = started(bed, operator, "done")
    finish = {"outcome": "Succeeded", "reason": "Completed", "message": "5 rounds", "exitCode": 0}
    bed.tell_progress(job, 1, training={**TRAINING, "state": "Done", "round": 5}, finish=finish)
    operator.wait("the end", lambda: bed.condition("done", "Succeeded")[0] == "True")
    assert bed.status("done")["state"] == "Succeeded"


def test_suspend_stops_the_jobs_and_resume_begins_the_next_incarnation(bed: Bed, operator: Operator) -> None:
    job = started(bed, operator, "paused", checkpoint=CHECKPOINT)
    bed.patch("FLJob", "paused", {"spec": {"suspend": True}})
    operator.wait("the wait for the border", lambda: bed.condition("paused", "Suspended")[1] == "Suspending")
    assert bed.num_jobs("paused") == 4
    bed.tell_progress(job, 1, training={**TRAINING, "state": "Paused"}, finish=PAUSED)
    operator.wait("the suspended state", lambda: bed.condition("paused", "Suspended")[0] == "True")
    assert bed.num_jobs("paused") == 0
    bed.patch("FLJob", "paused", {"spec": {"suspend": False}})
    operator.wait("the next incarnation", lambda: bed.num_jobs("paused", 2) == 4)
    operator.wait("its status", lambda: bed.status("paused")["incarnation"] == 2)
    assert ("ConfigMap", names.config("paused", job["metadata"]["uid"], 2)) in bed.children("paused")


def test_a_settled_job_is_looked_at_again_and_again_without_a_write(bed: Bed, operator: Operator) -> None:
    started(bed, operator, "settled")

    def versions() -> dict[tuple[str, str], str]:
        found = {key: item["metadata"]["resourceVersion"] for key, item in bed.children("settled").items()}
        return {**found, ("FLJob", "settled"): bed.get("FLJob", "settled")["metadata"]["resourceVersion"]}

    def looked_at(times: int) -> dict[tuple[str, str], str]:
        reconciles = operator.metric("fljob_operator_reconcile_total")
        operator.wait("resyncs", lambda: operator.metric("fljob_operator_reconcile_total") >= reconciles + times)
        return versions()

    before = looked_at(6)
    assert looked_at(6) == before


def test_a_lost_authority_and_certificate_begin_the_next_incarnation(bed: Bed, operator: Operator) -> None:
    job = started(bed, operator, "lost")
    uid = job["metadata"]["uid"]
    bed.delete("Secret", names.authority_secret("lost"))
    bed.delete("Secret", names.tls_secret("lost-server-0", uid))
    operator.wait("the next incarnation", lambda: bed.num_jobs("lost", 2) == 4)
    operator.wait("its status", lambda: bed.status("lost")["incarnation"] == 2)
    authority = bed.get("Secret", names.authority_secret("lost"))["data"]["tls.crt"]
    children = ("lost-coordinator", "lost-server-0", "lost-trainer-site-0", "lost-trainer-site-1")
    issuers = {bed.get("Secret", names.tls_secret(child, uid, 2))["data"]["ca.crt"] for child in children}
    assert issuers == {authority}
    assert base64.b64decode(authority).startswith(b"-----BEGIN CERTIFICATE-----")


def test_certificates_past_two_thirds_of_their_life_begin_the_next_incarnation(bed: Bed, operator: Operator) -> None:
    job = started(bed, operator, "long", checkpoint=CHECKPOINT)
    uid = job["metadata"]["uid"]
    before = bed.get("Secret", names.tls_secret("long-server-0", uid))["data"]
    bed.tell_progress(job, 1, training={**TRAINING, "checkpoint": "version 2"})
    operator.wait("the training", lambda: bed.condition("long", "Running")[0] == "True")
    begun = datetime.now(UTC) - timedelta(seconds=RENEW_AFTER_S + 60)
    change = {"status": {"resumeTime": begun.strftime("%Y-%m-%dT%H:%M:%SZ")}}
    bed.call("PATCH", f"{bed.path('FLJob', 'long')}/status", change, MERGE)
    operator.wait("the next incarnation", lambda: bed.num_jobs("long", 2) == 4)
    operator.wait("its status", lambda: bed.status("long")["incarnation"] == 2)
    after = bed.get("Secret", names.tls_secret("long-server-0", uid, 2))["data"]
    assert after["ca.crt"] == before["ca.crt"]
    assert after["tls.crt"] != before["tls.crt"]


def test_an_object_of_somebody_else_is_spared_until_the_name_is_free(bed: Bed, operator: Operator) -> None:
    mine = {"metadata": {"name": "taken-fl"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "shop"}}}
    bed.create("Service", mine)
    bed.submit("taken")
    operator.wait("a word on it", lambda: bed.condition("taken", "ResourcesReady")[1] == "NameTaken")
    found = bed.get("Service", "taken-fl")
    assert (found["spec"]["selector"], found["metadata"].get("labels")) == ({"app": "shop"}, None)
    bed.delete("Service", "taken-fl")
    operator.wait("the child Jobs", lambda: bed.num_jobs("taken") == 4)


def test_jobs_whose_names_run_together_both_get_their_children(bed: Bed, operator: Operator) -> None:
    sites = [{"name": "coordinator"}, {"name": "b-trainer-c"}]
    bed.submit("a", trainers=sites)
    bed.submit("a-trainer", trainers=sites)
    bed.submit("a-trainer-b", trainers=[{"name": "c"}, {"name": "d"}])
    for name in ("a", "a-trainer", "a-trainer-b"):
        operator.wait(f"the child Jobs of {name}", lambda name=name: bed.num_jobs(name) == 4)  # type: ignore[misc]


def test_a_deleted_fljob_takes_its_children_along(bed: Bed, operator: Operator) -> None:
    started(bed, operator, "gone")
    bed.delete("FLJob", "gone")
    operator.wait("the garbage collector", lambda: bed.children("gone") == {})
    operator.wait("the metrics", lambda: 'job="gone"' not in operator.get("/metrics")[1])
