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
            if item.get_closest_marker("cluster") and not on_cluster(item.nodeid):
                raise pytest.UsageError(f"{item.nodeid}: belongs in tests/cluster, or its parameter is `cluster`")
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


def on_cluster(nodeid: str) -> bool:
    """Return whether a test uses the cluster, which its name must tell: a scheduler knows no markers."""
    return nodeid.startswith("tests/cluster/") or nodeid.endswith(("[cluster]", "-cluster]")) or "[cluster-" in nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give all tests on the cluster, of which there is one on a machine, to one worker, and the others as they come."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped] # noqa: PLC0415 - where several run

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "cluster" if on_cluster(nodeid) else nodeid

    return Scheduling(config, log)


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
