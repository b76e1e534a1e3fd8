"""What main adds to its parts: the first of several waits, and the list that finds what a watch lost."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable

import pytest

from fljob_operator import main as main_module
from fljob_operator.controller import Controller
from fljob_operator.main import _first, _resync, main
from fljob_operator.metrics import OperatorMetrics
from fljob_operator.queue import WorkQueue
from fljob_operator.settings import Settings
from support.fake_cluster import FakeCluster
from support.operator_values import DEFAULTS, raw_job, running


def test_a_missing_setting_ends_it_with_the_variables_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["fljob-operator"])
    monkeypatch.delenv("FLJOB_RUNTIME_IMAGE", raising=False)
    with pytest.raises(SystemExit, match="FLJOB_RUNTIME_IMAGE must name"):
        main()


async def test_the_first_wait_that_ends_is_told_by_its_place() -> None:
    forever = asyncio.Event()
    assert await _first(forever.wait(), asyncio.sleep(0), forever.wait()) == 1


async def test_the_waits_that_are_left_are_cancelled() -> None:
    cancelled = asyncio.Event()

    async def left() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    await _first(asyncio.sleep(0.01), left())
    assert cancelled.is_set()


async def test_a_wait_that_fails_is_raised() -> None:
    async def fails() -> None:
        raise RuntimeError("the lease")

    with pytest.raises(RuntimeError, match="the lease"):
        await _first(asyncio.Event().wait(), fails())


class Listing:
    """The list that runs beside the watches."""

    def __init__(self) -> None:
        self.cluster, self.metrics, self.queue = FakeCluster(), OperatorMetrics(), WorkQueue()
        self.controller = Controller(self.cluster, self.queue, DEFAULTS, self.metrics, progress_interval_s=1.0)

    @contextlib.asynccontextmanager
    async def running(self, *namespaces: str) -> AsyncIterator[None]:
        settings = Settings("runtime:1", watch_namespaces=namespaces, resync_s=0.02)
        task = asyncio.create_task(_resync(settings, self.cluster, self.controller, self.metrics))
        yield
        task.cancel()

    async def until(self, ready: Callable[[], bool]) -> None:
        async with asyncio.timeout(5.0):
            while not ready():
                await asyncio.sleep(0.005)

    async def add(self, namespace: str, name: str = "movies") -> None:
        await self.cluster.create({**raw_job(), "metadata": {"name": name, "namespace": namespace}})


async def test_every_fljob_is_put_into_the_queue() -> None:
    listing = Listing()
    await listing.add("lab")
    await listing.add("shop")
    async with listing.running():
        keys = {await listing.queue.get(), await listing.queue.get()}
    assert keys == {"lab/movies", "shop/movies"}


async def test_only_the_watched_namespaces_are_listed() -> None:
    listing = Listing()
    await listing.add("lab")
    await listing.add("shop")
    async with listing.running("shop"):
        assert await listing.queue.get() == "shop/movies"
        listing.queue.done("shop/movies")
        assert await listing.queue.get() == "shop/movies"


async def test_an_fljob_that_is_gone_is_forgotten() -> None:
    listing = Listing()
    listing.metrics.saw(running())
    async with listing.running():
        await listing.until(lambda: listing.metrics.known() == ())


async def test_a_list_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = Listing()
    monkeypatch.setattr(main_module, "RETRY_S", 0.01)
    await listing.add("lab")
    listing.cluster.forbidden = {("list", "FLJob")}
    before = listing.metrics.last_list
    async with listing.running():
        await asyncio.sleep(0.03)
        assert listing.metrics.last_list == before
        listing.cluster.forbidden = set()
        assert await asyncio.wait_for(listing.queue.get(), 5) == "lab/movies"
