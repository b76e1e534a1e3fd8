"""The controller on a cluster in memory: order of writes, repetition after a kill, errors said to people."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from unit.operator.bench import KEY, Bench

from fljob_api import names
from fljob_operator.cluster import ClusterError
from fljob_operator.desired import Manifest
from support.fake_cluster import FakeCluster
from support.operator_values import raw_job


async def test_children_come_first_then_the_status_then_events() -> None:
    bench = Bench()
    await bench.turn()
    kinds = [kind for _, kind, _ in bench.cluster.writes]
    assert kinds.index("FLJob") > max(i for i, kind in enumerate(kinds) if kind == "Job")
    assert all(kind == "Event" for kind in kinds[kinds.index("FLJob") + 1 :])


async def test_the_second_turn_writes_nothing() -> None:
    bench = Bench()
    await bench.turn()
    bench.cluster.writes.clear()
    assert await bench.turn() is False
    assert bench.cluster.writes == []


async def test_certificates_are_made_once_and_one_for_each_process() -> None:
    bench = Bench()
    await bench.turn()
    first = {n: bench.cluster.objects["Secret", "lab", n]["data"] for n in bench.names("Secret")}
    assert len(first) == 1 + 4
    await bench.turn()
    assert {n: bench.cluster.objects["Secret", "lab", n]["data"] for n in bench.names("Secret")} == first


class KilledError(Exception):
    """Stands for SIGKILL."""


def killed_after(cluster: FakeCluster, writes: int) -> Callable[..., None]:
    store = cluster._store

    def dying(verb: str, key: Any, value: Any) -> None:
        if len(cluster.writes) >= writes:
            raise KilledError
        store(verb, key, value)

    return dying


@pytest.mark.parametrize("writes", range(0, 22, 3))
async def test_an_operator_killed_after_any_write_leaves_nothing_twice(
    writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Bench()
    await whole.turn()
    bench = Bench()
    with monkeypatch.context() as patch:
        patch.setattr(bench.cluster, "_store", killed_after(bench.cluster, writes))
        with pytest.raises(KilledError):
            await bench.turn()
    await bench.turn()
    kinds = ("Job", "Secret", "Service", "ConfigMap", "NetworkPolicy", "Role")
    assert {k: bench.names(k) for k in kinds} == {k: whole.names(k) for k in kinds}
    assert bench.status["conditions"] == whole.status["conditions"]


async def test_an_invalid_spec_is_refused_with_its_path() -> None:
    bench = Bench(model={"name": "ncff"})
    await bench.turn()
    accepted = bench.status["conditions"][0]
    assert (accepted["type"], accepted["status"]) == ("Accepted", "False")
    assert "spec.model.name" in accepted["message"]
    assert bench.names("Job") == set()


async def test_an_object_of_another_schema_is_refused_not_crashed_on() -> None:
    bench = Bench()
    raw = raw_job()
    raw["spec"]["fromTheFuture"] = 1
    bench.put(raw)
    assert await bench.turn() is True
    assert "fromTheFuture" in bench.status["conditions"][0]["message"]
    assert await bench.turn() is False


async def test_what_the_user_must_mend_is_said_in_the_api_servers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    async def refuse(manifest: Manifest, **_: Any) -> None:
        raise ClusterError(403, 'exceeded quota: "tiny"')

    monkeypatch.setattr(bench.cluster, "apply", refuse)
    await bench.turn()
    ready = next(c for c in bench.status["conditions"] if c["type"] == "ResourcesReady")
    assert (ready["reason"], ready["message"]) == ("ApplyFailed", 'exceeded quota: "tiny"')


async def test_an_outage_is_retried_by_the_queue_and_changes_no_status(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    async def down(*_: Any, **__: Any) -> None:
        raise ClusterError(0, "no answer")

    monkeypatch.setattr(bench.cluster, "apply", down)
    with pytest.raises(ClusterError):
        await bench.turn()
    assert bench.status == {}


async def test_progress_of_this_incarnation_reaches_the_status_and_any_other_does_not() -> None:
    bench = Bench()
    await bench.turn()
    name = names.progress("movies", raw_job()["metadata"]["uid"], 1)
    told = {
        "uid": raw_job()["metadata"]["uid"],
        "incarnation": 1,
        "sequence": 1,
        "training": {"state": "Training", "round": 2, "total": 5},
    }
    config_map = bench.cluster.objects["ConfigMap", "lab", name]
    config_map["data"] = {"progress.json": json.dumps({**told, "incarnation": 9})}
    await bench.turn()
    assert "training" not in bench.status
    config_map["data"] = {"progress.json": json.dumps(told)}
    await bench.turn()
    assert bench.status["display"]["round"] == "2/5"


async def test_a_torn_progress_object_is_no_word_at_all() -> None:
    bench = Bench()
    await bench.turn()
    name = names.progress("movies", raw_job()["metadata"]["uid"], 1)
    bench.cluster.objects["ConfigMap", "lab", name]["data"] = {"progress.json": '{"uid": '}
    await bench.turn()
    assert "training" not in bench.status


async def test_a_deleted_fljob_is_forgotten() -> None:
    bench = Bench()
    await bench.turn()
    assert bench.metrics.known() == (KEY,)
    del bench.cluster.objects["FLJob", "lab", "movies"]
    await bench.turn()
    assert bench.metrics.known() == ()


async def test_workers_go_on_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    seen = asyncio.Event()
    calls = []

    async def flaky(key: str) -> bool:
        calls.append(key)
        if len(calls) == 1:
            raise ClusterError(0, "no answer")
        if len(calls) == 2:
            raise RuntimeError("a bug")
        seen.set()
        return True

    monkeypatch.setattr(bench.controller, "_handle", flaky)
    monkeypatch.setattr("fljob_operator.queue.FIRST_BACKOFF_S", 0.01)
    worker = asyncio.create_task(bench.controller.work())
    bench.queue.add(KEY)
    await asyncio.wait_for(seen.wait(), 5)
    worker.cancel()
    assert calls == [KEY] * 3
