"""What may happen to a job on a real cluster, one test each: it ends in the documented state, with a reason."""

from __future__ import annotations

import json

import pytest

from support.jobs import Jobs, kill_process, manifest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]
Metrics = dict[int, tuple[float, float]]


def assert_same_metrics(found: Metrics, wanted: Metrics) -> None:
    assert found.keys() == wanted.keys()
    for number, values in wanted.items():
        assert found[number] == pytest.approx(values, abs=1e-6), f"round {number}"


@pytest.mark.parametrize("role", ["trainer", "server", "coordinator"])
def test_a_killed_process_costs_no_round_and_changes_no_number(jobs: Jobs, undisturbed: Metrics, role: str) -> None:
    name = jobs.apply(jobs.with_checkpoint(manifest(f"killed-{role}")))
    jobs.wait_round(name, 2)
    jobs.kill(name, role)
    status = jobs.wait_state(name, "Succeeded", "Failed")
    assert status["state"] == "Succeeded", status
    assert_same_metrics(jobs.metrics(name), undisturbed)
    assert status["restarts"] >= 1


def test_a_killed_operator_does_not_disturb_a_job(jobs: Jobs, undisturbed: Metrics, operator: str) -> None:
    name = jobs.apply(jobs.with_checkpoint(manifest("operator-killed")))
    jobs.wait_round(name, 2)
    pod = jobs.cluster.items("pods", operator)[0]
    kill_process(pod["metadata"]["uid"])
    status = jobs.wait_state(name, "Succeeded", "Failed")
    assert status["state"] == "Succeeded", status
    assert_same_metrics(jobs.metrics(name), undisturbed)


def test_children_deleted_by_hand_come_back(jobs: Jobs, undisturbed: Metrics) -> None:
    name = jobs.apply(jobs.with_checkpoint(manifest("orphaned")))
    owner = jobs.cluster.get("flj", name, jobs.namespace)
    assert owner is not None
    uid = owner["metadata"]["uid"][:8]
    children = {
        "service": f"{name}-fl",
        "networkpolicy": f"{name}-deny",
        "role": f"{name}-coordinator",
        "serviceaccount": f"{name}-server",
        "configmap": f"{name}-config-{uid}-1",
        "job": f"{name}-trainer-site-0",
    }

    def uids() -> dict[str, str]:
        found = {kind: jobs.cluster.get(kind, child, jobs.namespace) for kind, child in children.items()}
        return {kind: item["metadata"]["uid"] for kind, item in found.items() if item}

    jobs.wait_round(name, 1)
    before = uids()
    assert before.keys() == children.keys()
    for kind, child in children.items():
        jobs.cluster.kubectl("delete", kind, child, "-n", jobs.namespace, "--wait=false")
    jobs.cluster.kubectl("delete", "secret", f"{name}-trainer-site-1-{uid}-tls", "-n", jobs.namespace)
    jobs.cluster.wait_for(
        "all deleted children to be back",
        lambda: uids().keys() == children.keys() and not set(uids().values()) & set(before.values()),
        60,
    )
    status = jobs.wait_state(name, "Succeeded", "Failed")
    assert status["state"] == "Succeeded", status
    assert_same_metrics(jobs.metrics(name), undisturbed)


def test_suspend_and_resume_go_on_at_the_committed_round(jobs: Jobs, undisturbed: Metrics) -> None:
    name = jobs.apply(jobs.with_checkpoint(manifest("pause")))
    jobs.wait_round(name, 2)
    jobs.cluster.kubectl("patch", "flj", name, "-n", jobs.namespace, "--type=merge", "-p", '{"spec":{"suspend":true}}')
    status = jobs.wait_state(name, "Suspended")
    assert status["training"]["round"] >= 2
    assert not jobs.cluster.items("pods", jobs.namespace), "a suspended job holds no pods"
    jobs.cluster.kubectl("patch", "flj", name, "-n", jobs.namespace, "--type=merge", "-p", '{"spec":{"suspend":false}}')
    status = jobs.wait_state(name, "Succeeded", "Failed")
    assert status["state"] == "Succeeded", status
    assert status["incarnation"] == 2
    assert_same_metrics(jobs.metrics(name), undisturbed)


def test_a_corrupt_data_file_fails_the_job_and_names_the_file(jobs: Jobs) -> None:
    folder = jobs.cluster.claim(jobs.namespace, "broken")
    (folder / "manifest.json").write_text('{"dataset": "synthetic"')
    job = manifest("corrupt")
    job["spec"]["trainers"][1]["data"] = {"persistentVolumeClaim": {"claimName": "broken"}}
    status = jobs.wait_state(jobs.apply(job), "Failed")
    assert status["failure"]["reason"] == "BadData"
    assert status["failure"]["trainer"] == "site-1"
    assert "manifest.json" in status["failure"]["message"]


def test_an_image_that_does_not_exist_is_said_at_once_and_fails_at_the_deadline(jobs: Jobs) -> None:
    image = {"image": f"{jobs.cluster.registry}/no-such-image:1"}
    name = jobs.apply(manifest("no-image", trainerTemplate=image, startupDeadlineSeconds=40))
    condition = jobs.wait_condition(name, "ResourcesReady", "ImagePullFailed", deadline_s=30)
    assert "no-such-image" in condition["message"]
    status = jobs.wait_state(name, "Failed", deadline_s=90)
    assert status["failure"]["reason"] == "StartupTimeout"
    assert "no-such-image" in status["failure"]["message"]


def test_a_quorum_that_cannot_be_met_fails_the_job_with_the_trainers_reason(jobs: Jobs) -> None:
    job = manifest("no-quorum", startupDeadlineSeconds=60, quorum={"minTrainers": 3})
    job["spec"]["trainers"][2]["data"] = {"persistentVolumeClaim": {"claimName": "nobody-made-this"}}
    status = jobs.wait_state(jobs.apply(job), "Failed", deadline_s=120)
    assert status["failure"]["reason"] == "StartupTimeout"
    assert "nobody-made-this" in status["failure"]["message"]


def test_a_container_killed_for_memory_is_explained_with_its_limit(jobs: Jobs) -> None:
    small = {"resources": {"limits": {"memory": "96Mi"}}}
    status = jobs.wait_state(jobs.apply(manifest("hungry", trainerTemplate=small)), "Failed")
    assert status["failure"]["reason"] == "OutOfMemory"
    assert "96Mi" in status["failure"]["message"]


def test_delete_in_mid_run_and_apply_again_starts_anew(jobs: Jobs, undisturbed: Metrics) -> None:
    job = jobs.with_checkpoint(manifest("again"))
    name = jobs.apply(job)
    jobs.wait_round(name, 2)
    jobs.cluster.kubectl("delete", "flj", name, "-n", jobs.namespace, "--wait=false")
    jobs.apply(job)
    status = jobs.wait_state(name, "Succeeded", "Failed")
    assert status["state"] == "Succeeded", status
    assert_same_metrics(jobs.metrics(name), undisturbed)
    jobs.delete(name)
    jobs.cluster.wait_for("everything of the job to be gone", lambda: not jobs.leftovers(name), 60)


def test_quorum_below_all_goes_on_without_a_lost_trainer(jobs: Jobs) -> None:
    job = manifest("degraded", quorum={"minTrainers": 2})
    job["spec"]["trainers"][2]["data"] = {"persistentVolumeClaim": {"claimName": "empty"}}
    jobs.cluster.claim(jobs.namespace, "empty")
    status = jobs.wait_state(jobs.apply(job), "Succeeded", "Failed")
    assert status["state"] == "Succeeded", json.dumps(status)
    assert status["trainerCounts"]["failed"] == 1
