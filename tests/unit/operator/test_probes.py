"""The pages of an operator: ready, alive, metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from fljob_operator.metrics import OperatorMetrics
from fljob_operator.probes import Health, serve
from support.processes import free_port


class Pages:
    """The pages, and what they answer from."""

    def __init__(self, port: int) -> None:
        self.metrics, self.health, self.port = OperatorMetrics(), Health(), port

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    pages = Pages(free_port())
    runner = await serve(pages.metrics, pages.health, pages.port, 600.0)
    yield pages
    await runner.cleanup()


async def test_it_is_not_ready_before_it_says_so(pages: Pages) -> None:
    assert await pages.get("/readyz") == (503, "not listed yet\n")


async def test_it_is_ready_when_it_says_so(pages: Pages) -> None:
    pages.health.ready = True
    assert await pages.get("/readyz") == (200, "ok\n")


async def test_one_that_stands_by_is_alive_without_any_word(pages: Pages) -> None:
    pages.metrics.last_event = pages.metrics.last_list = pages.metrics.last_list - 10_000.0
    assert await pages.get("/healthz") == (200, "ok\n")


async def test_a_leader_without_any_word_for_too_long_is_not_alive(pages: Pages) -> None:
    pages.health.leads = True
    pages.metrics.last_event = pages.metrics.last_list = pages.metrics.last_list - 601.0
    assert await pages.get("/healthz") == (503, "no list or event for 601 s\n")


@pytest.mark.parametrize("what", ["last_event", "last_list"])
async def test_either_a_list_or_an_event_keeps_a_leader_alive(pages: Pages, what: str) -> None:
    pages.health.leads = True
    setattr(pages.metrics, what, getattr(pages.metrics, what) - 10_000.0)
    assert (await pages.get("/healthz"))[0] == 200


async def test_the_metrics_are_in_prometheus_text(pages: Pages) -> None:
    pages.metrics.leads(True)
    status, text = await pages.get("/metrics")
    assert status == 200
    assert "\nfljob_operator_leader 1.0\n" in text
