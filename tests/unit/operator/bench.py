"""A controller over a cluster in memory, turned by hand; for the tests of this folder."""

from __future__ import annotations

from typing import Any

from fljob_operator.controller import Controller
from fljob_operator.desired import Manifest
from fljob_operator.metrics import OperatorMetrics
from fljob_operator.queue import WorkQueue
from support.fake_cluster import FakeCluster
from support.operator_values import DEFAULTS, NOW, raw_job

KEY = "lab/movies"


class Bench:
    """A controller over a fake cluster."""

    def __init__(self, **spec: Any) -> None:
        self.cluster = FakeCluster()
        self.metrics = OperatorMetrics()
        self.queue = WorkQueue()
        self.controller = Controller(
            self.cluster, self.queue, DEFAULTS, self.metrics, progress_interval_s=0.0, now=lambda: NOW
        )
        self.put(raw_job(**spec))

    def put(self, manifest: Manifest) -> None:
        self.cluster._store(
            "apply", (manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]), manifest
        )
        self.cluster.writes.clear()

    async def turn(self, times: int = 1) -> bool:
        changed = False
        for _ in range(times):
            changed = await self.controller._handle(KEY)
        return changed

    def names(self, kind: str) -> set[str]:
        return {name for k, _, name in self.cluster.objects if k == kind}

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.objects["FLJob", "lab", "movies"].get("status", {})
        return found

    def condition(self, kind: str) -> tuple[str, str, str]:
        """Return status, reason and message of a condition."""
        found = next(c for c in self.status["conditions"] if c["type"] == kind)
        return found["status"], found["reason"], found.get("message", "")
