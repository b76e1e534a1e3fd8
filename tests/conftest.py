"""Leaves out what cannot run here, says so in one line per kind, and hands out the shared fixtures."""

from __future__ import annotations

import collections
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from support.cluster_fixtures import cluster, images, jobs, operator, undisturbed
from support.controlplane import ControlPlane
from support.requirements import REQUIREMENTS

__all__ = ["cluster", "images", "jobs", "operator", "undisturbed"]  # fixtures of every folder with tests on a cluster

_LEFT_OUT: collections.Counter[str] = collections.Counter()
_ONE_WORKER = "cluster"  # there is one cluster on a machine, so all tests on it go to one worker


def pytest_configure() -> None:
    """End as after Ctrl-C when asked to end, so that what fixtures started is stopped; time no examples."""
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests whose requirement is not met; say which must not be spread over workers."""
    unmet = {r.marker for r in REQUIREMENTS if not r.is_met()}
    kept, dropped = [], []
    for item in items:
        missing = next((m for m in unmet if item.get_closest_marker(m)), None)
        if missing:
            _LEFT_OUT[missing] += 1
            dropped.append(item)
        else:
            kept.append(item)
            if item.get_closest_marker(_ONE_WORKER):
                item.add_marker(pytest.mark.xdist_group(_ONE_WORKER))
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that started this worker, if it is one, what was left out."""
    told: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["left_out"] = dict(_LEFT_OUT)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker left out: each has collected all tests, so each left out the same."""
    told = getattr(node, "workeroutput", {}).get("left_out", {})  # a worker that crashed tells nothing
    _LEFT_OUT.update({kind: count - _LEFT_OUT[kind] for kind, count in told.items()})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line per kind what was left out and how to run it."""
    for requirement in REQUIREMENTS:
        count = _LEFT_OUT[requirement.marker]
        if count:
            terminalreporter.write_line(f"left out: {count} {requirement.marker} tests: {requirement.how}")


@pytest.fixture(scope="session")
def apiserver() -> Iterator[ControlPlane]:
    """A real etcd and kube-apiserver for the session."""
    plane = ControlPlane.start()
    try:
        yield plane
    finally:
        plane.stop()
