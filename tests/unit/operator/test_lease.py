"""The lease: one holder, taken when it was seen unchanged for its length, given up when it cannot be renewed."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from fljob_operator import lease as lease_module
from fljob_operator.lease import Lease
from support.fake_cluster import FakeCluster

KEY = ("Lease", "system", "fljob-operator")


class Clock:
    """Time as a test wants it; each sleep of the lease moves it on and lets others run."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease_module, "time", clock)
    monkeypatch.setattr(lease_module, "asyncio", SimpleNamespace(sleep=clock.sleep))
    return clock


def lease(cluster: FakeCluster, identity: str = "one") -> Lease:
    return Lease(cluster, "system", "fljob-operator", identity, 15.0)


def spec(cluster: FakeCluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.objects[KEY]["spec"]
    return found


async def test_a_lease_that_is_not_there_is_made_and_held(clock: Clock) -> None:
    cluster = FakeCluster()
    await lease(cluster).acquire()
    assert (spec(cluster)["holderIdentity"], spec(cluster)["leaseTransitions"]) == ("one", 0)
    assert clock.now == 100.0


async def test_its_own_lease_of_before_a_restart_is_taken_at_once(clock: Clock) -> None:
    cluster = FakeCluster()
    await lease(cluster).acquire()
    acquired = spec(cluster)["acquireTime"]
    await lease(cluster).acquire()
    assert (spec(cluster)["acquireTime"], clock.now) == (acquired, 100.0)


async def test_anothers_lease_is_taken_when_it_was_seen_unchanged_for_its_length(clock: Clock) -> None:
    cluster = FakeCluster()
    await lease(cluster).acquire()
    await lease(cluster, "two").acquire()
    assert (spec(cluster)["holderIdentity"], spec(cluster)["leaseTransitions"]) == ("two", 1)
    assert clock.now == pytest.approx(118.0)  # looked at every 3 s; the first time past 15 s


async def test_a_lease_that_is_renewed_is_not_taken(clock: Clock) -> None:
    cluster = FakeCluster()
    first, second = lease(cluster), lease(cluster, "two")
    await first.acquire()
    for _ in range(20):
        clock.now += 10.0
        assert await second._try() is False
        assert await first._try() is True
    assert spec(cluster)["holderIdentity"] == "one"


async def test_a_lease_that_was_given_back_is_taken_at_once(clock: Clock) -> None:
    cluster = FakeCluster()
    first = lease(cluster)
    await first.acquire()
    await first.release()
    await lease(cluster, "two").acquire()
    assert (spec(cluster)["holderIdentity"], clock.now) == ("two", 100.0)


async def test_only_its_own_lease_is_given_back(clock: Clock) -> None:
    cluster = FakeCluster()
    await lease(cluster).acquire()
    await lease(cluster, "two").release()
    assert spec(cluster)["holderIdentity"] == "one"


async def test_a_lease_that_cannot_be_renewed_is_lost_before_another_may_take_it(clock: Clock) -> None:
    cluster = FakeCluster()
    first = lease(cluster)
    await first.acquire()
    cluster.forbidden = {("update", "Lease")}
    await first.hold()
    assert 110.0 <= clock.now < 115.0


async def test_a_lease_that_is_renewed_is_held(clock: Clock) -> None:
    cluster = FakeCluster()
    first = lease(cluster)
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    while clock.now < 1000.0:
        await asyncio.sleep(0)
    assert not holding.done()
    holding.cancel()


async def test_a_lease_that_another_took_is_lost(clock: Clock) -> None:
    cluster = FakeCluster()
    first = lease(cluster)
    await first.acquire()
    spec(cluster)["holderIdentity"] = "two"
    holding = asyncio.create_task(first.hold())
    while not holding.done():
        spec(cluster)["renewTime"] = str(clock.now)
        await asyncio.sleep(0)
    assert spec(cluster)["holderIdentity"] == "two"


async def test_of_two_that_read_the_same_lease_one_gets_it(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster()
    first, second = lease(cluster, "one"), lease(cluster, "two")
    await first.acquire()
    await first.release()
    free = await cluster.get(*KEY)

    async def stale(*_: str) -> Any:
        return free

    monkeypatch.setattr(cluster, "get", stale)
    assert [await first._try(), await second._try()] == [True, False]


async def test_a_release_that_fails_is_only_logged(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    cluster = FakeCluster()
    cluster.forbidden = {("get", "Lease")}
    with caplog.at_level(logging.WARNING):
        await lease(cluster).release()
    assert "not released" in caplog.text
