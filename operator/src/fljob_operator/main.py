"""fljob-operator: wires settings, lease, wake-ups, workers and probes together, and ends in order."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from fljob_operator.cluster import ClusterClient, ClusterError, RealCluster
from fljob_operator.controller import Controller, run_workers
from fljob_operator.desired import Defaults
from fljob_operator.lease import Lease
from fljob_operator.metrics import OperatorMetrics
from fljob_operator.probes import Health, serve
from fljob_operator.queue import WorkQueue
from fljob_operator.settings import Settings, SettingsError
from fljob_operator.wakeups import Wake, Wakeups

log = logging.getLogger("fljob_operator")
API_OUTAGE_BUDGET_S = 600.0
RETRY_S = 5.0


def main() -> None:
    """Run the operator until SIGTERM; exit code 0 when asked to stop, 1 when it cannot go on, 2 for bad settings."""
    parser = argparse.ArgumentParser(
        prog="fljob-operator", description="Reconcile FLJobs. Settings: FLJOB_* variables."
    )
    parser.add_argument("--kubeconfig", type=Path, help="run outside the cluster with this kubeconfig")
    arguments = parser.parse_args()
    try:
        settings = Settings.from_env()
    except SettingsError as error:
        sys.exit(f"fljob-operator: {error}")
    if arguments.kubeconfig:
        settings = replace(settings, kubeconfig=arguments.kubeconfig)
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("kopf").setLevel(logging.ERROR)
    sys.exit(asyncio.run(run(settings)))


async def run(settings: Settings) -> int:
    """Serve probes, win the lease, work; returns the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics, health = OperatorMetrics(), Health()
    cluster = await RealCluster.connect(settings.kubeconfig, settings.request_timeout_s, metrics)
    lease = Lease(cluster, settings.own_namespace, settings.lease_name, settings.identity, settings.lease_duration_s)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(cluster.close)
        runner = await serve(metrics, health, settings.http_port, API_OUTAGE_BUDGET_S)
        stack.push_async_callback(runner.cleanup)
        health.ready = True  # standing by is ready; the leader's work is seen in the metrics
        if await _first(stop.wait(), lease.acquire()) == 0:
            return 0
        stack.push_async_callback(lease.release)
        return await _lead(settings, cluster, lease, metrics, health, stop)


async def _lead(
    settings: Settings,
    cluster: RealCluster,
    lease: Lease,
    metrics: OperatorMetrics,
    health: Health,
    stop: asyncio.Event,
) -> int:
    health.leads = True
    metrics.leads(True)
    queue = WorkQueue()
    metrics.queue_depth, metrics.queue_age_s = queue.depth, queue.age_s
    defaults = Defaults(settings.runtime_image, settings.runtime_pull_policy)
    controller = Controller(cluster, queue, defaults, metrics, progress_interval_s=settings.progress_interval_s)

    def wake(key: str, urgent: bool) -> None:
        metrics.last_event = time.monotonic()
        if urgent:
            queue.add(key)
        else:
            queue.add_after(key, settings.progress_interval_s)

    async with _watching(settings, wake) as wakeups:
        ended = await _first(
            stop.wait(),
            lease.hold(),
            wakeups.failed.wait(),
            run_workers(controller, settings.workers),
            _resync(settings, cluster, controller, metrics),
        )
    metrics.leads(False)
    return 0 if ended == 0 else 1


@contextlib.asynccontextmanager
async def _watching(settings: Settings, wake: Wake) -> AsyncIterator[Wakeups]:
    wakeups = Wakeups(settings, asyncio.get_running_loop(), wake)
    wakeups.start()
    try:
        yield wakeups
    finally:
        await asyncio.to_thread(wakeups.stop)


async def _resync(settings: Settings, cluster: ClusterClient, controller: Controller, metrics: OperatorMetrics) -> None:
    """List all FLJobs now and every few minutes: finds what a watch lost, and forgets what is gone."""
    while True:
        try:
            found = []
            for namespace in settings.watch_namespaces or ("",):
                found += await cluster.find("FLJob", namespace)
            keys = {f"{item['metadata']['namespace']}/{item['metadata']['name']}" for item in found}
            metrics.last_list = time.monotonic()
            for key in set(metrics.known()) - keys:
                metrics.forget(key)
            for key in keys:
                controller.resync(key)
        except ClusterError as error:
            log.warning("listing FLJobs failed: %s", error)
            await asyncio.sleep(RETRY_S)
            continue
        await asyncio.sleep(settings.resync_s)


async def _first(*waits: Coroutine[Any, Any, Any]) -> int:
    """Wait for the first of several coroutines and cancel the others; returns its place. Its exception is raised."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return min(tasks.index(task) for task in done)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    main()
