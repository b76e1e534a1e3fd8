"""Whose is an object that has the name of a child: ours, a former FLJob's of this name, or somebody else's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from unit.operator.bench import Bench

from fljob_api import names
from fljob_operator.cluster import ClusterError
from fljob_operator.desired import Manifest
from support.operator_values import raw_job

TAKEN = [
    ("Service", "movies-fl"),
    ("ServiceAccount", "movies-coordinator"),
    ("Role", "movies-coordinator"),
    ("NetworkPolicy", "movies-deny"),
    ("Secret", "movies-ca"),
    ("Job", "movies-server-0"),
]


def foreign(kind: str, name: str) -> Manifest:
    return {"kind": kind, "metadata": {"name": name, "namespace": "lab"}, "spec": {"owner": "somebody"}}


@pytest.mark.parametrize(("kind", "name"), TAKEN)
async def test_somebody_elses_object_is_left_as_it_is_and_named_in_a_condition(kind: str, name: str) -> None:
    bench = Bench()
    bench.put(foreign(kind, name))
    before = copy.deepcopy(bench.cluster.objects[kind, "lab", name])
    await bench.turn()
    assert bench.cluster.objects[kind, "lab", name] == before
    status, reason, message = bench.condition("ResourcesReady")
    assert (status, reason) == ("False", "NameTaken")
    assert message.startswith(f"{kind} {name} exists and is not this FLJob's: ")


@pytest.mark.parametrize(("kind", "name"), TAKEN)
async def test_the_job_goes_on_when_the_name_is_free(kind: str, name: str) -> None:
    bench = Bench()
    bench.put(foreign(kind, name))
    await bench.turn()
    del bench.cluster.objects[kind, "lab", name]
    await bench.turn()
    assert bench.condition("ResourcesReady")[1] == "PodPending"
    assert len(bench.names("Job")) == 4


async def test_a_taken_name_is_said_once() -> None:
    bench = Bench()
    bench.put(foreign("Service", "movies-fl"))
    await bench.turn()
    bench.cluster.writes.clear()
    await bench.turn()
    assert bench.cluster.writes == []


async def test_an_authority_of_a_former_job_is_waited_for() -> None:
    bench = Bench()
    labels: dict[str, Any] = names.owned_labels("movies", "another-uid")
    bench.put(
        {**foreign("Secret", "movies-ca"), "metadata": {"name": "movies-ca", "namespace": "lab", "labels": labels}}
    )
    with pytest.raises(ClusterError, match="former FLJob's") as caught:
        await bench.turn()
    assert caught.value.retriable


async def test_the_time_to_live_ends_this_very_fljob_and_not_one_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    status = {"incarnation": 1, "completionTime": "2026-03-01T11:00:00Z"}
    ended = {"type": "Succeeded", "status": "True", "reason": "Completed", "lastTransitionTime": "2026-03-01T11:00:00Z"}
    bench = Bench(ttlSecondsAfterFinished=1, status={**status, "conditions": [ended]})
    delete = bench.cluster.delete

    async def made_anew_meanwhile(kind: str, namespace: str, name: str, uid: str = "") -> None:
        bench.put({**raw_job(), "metadata": {**raw_job()["metadata"], "uid": "made-anew"}})
        await delete(kind, namespace, name, uid)

    monkeypatch.setattr(bench.cluster, "delete", made_anew_meanwhile)
    await bench.turn()
    assert bench.cluster.objects["FLJob", "lab", "movies"]["metadata"]["uid"] == "made-anew"
