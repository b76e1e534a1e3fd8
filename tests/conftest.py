"""Leaves out what cannot run here, says so in one line per kind, and hands out the shared fixtures."""

from __future__ import annotations

import collections
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from support.cluster_fixtures import cluster, images, jobs, operator, undisturbed
from support.controlplane import ControlPlane
from support.requirements import REQUIREMENTS

__all__ = ["cluster", "images", "jobs", "operator", "undisturbed"]  # fixtures of every folder with tests on a cluster

_LEFT_OUT: collections.Counter[str] = collections.Counter()


def pytest_configure() -> None:
    """End as after Ctrl-C when asked to end, so that what fixtures started is stopped; time no examples."""
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests whose requirement is not met."""
    unmet = {r.marker for r in REQUIREMENTS if not r.is_met()}
    kept, dropped = [], []
    for item in items:
        missing = next((m for m in unmet if item.get_closest_marker(m)), None)
        if missing:
            _LEFT_OUT[missing] += 1
            dropped.append(item)
        else:
            kept.append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


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
