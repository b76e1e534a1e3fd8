"""/healthz, /readyz and /metrics over plain HTTP.

Ready: this process has listed FLJobs once, or stands by for the lease. Alive: the loop turns (it answers) and the last
list or event is younger than a bound above what an API server's outage may take.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from fljob_operator.metrics import OperatorMetrics


@dataclass
class Health:
    """What the probes answer from."""

    ready: bool = False
    leads: bool = False


async def serve(metrics: OperatorMetrics, health: Health, port: int, alive_bound_s: float) -> web.AppRunner:
    """Start serving; the caller cleans the runner up."""

    async def healthz(_: web.Request) -> web.Response:
        age = time.monotonic() - max(metrics.last_event, metrics.last_list)
        if health.leads and age > alive_bound_s:
            return web.Response(status=503, text=f"no list or event for {age:.0f} s\n")
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if health.ready else web.Response(status=503, text="not listed yet\n")

    async def exported(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", exported)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, None, port).start()
    return runner
