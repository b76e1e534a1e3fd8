"""A real Prometheus with the chart's scrape configuration and alert rules, over the pods of an API server.

Called by the chart's tests and by those on a real cluster. Targets are found by support.pod_discovery: call `discover`
with the pods of now.
"""

from __future__ import annotations

import contextlib
import json
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.pod_discovery import with_files, write_targets
from support.processes import Process, free_port, wait_until
from support.prometheus_queries import CHART, scrape_config

QUICK = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus; its configuration is the chart's but for the intervals (1 s)."""

    url: str
    folder: Path

    def discover(self, pods: Sequence[dict[str, Any]]) -> None:
        """Make these pods the targets, as the chart's configuration selects them."""
        write_targets(scrape_config(), pods, self.folder)

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """Return the series of an instant query."""
        return list(self._get("query", query=expr)["data"]["result"])

    def value(self, expr: str) -> float | None:
        """Return the value of a query with one series, None before there is one."""
        found = self.ask(expr)
        return float(found[0]["value"][1]) if len(found) == 1 else None

    def ask_since(self, expr: str, begin: float) -> list[dict[str, Any]]:
        """Return the series that a query has had at any second from Unix time `begin` on."""
        query = self._get("query_range", query=expr, start=f"{begin:.0f}", end=f"{time.time():.0f}", step="1")
        return list(query["data"]["result"])

    def alerts(self) -> set[str]:
        """Return the names of all alerts that fire or are about to."""
        return {alert["labels"]["alertname"] for alert in self._get("alerts")["data"]["alerts"]}

    def _get(self, what: str, **query: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            loaded: dict[str, Any] = json.loads(answer.read())
        return loaded

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextlib.contextmanager
def prometheus_in(folder: Path) -> Iterator[Prometheus]:
    """Run Prometheus with its files in a folder; it has no targets before `discover`."""
    config = {"global": QUICK, "rule_files": [str(CHART / "files/alerts.yaml")], **with_files(scrape_config(), folder)}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    process = Process.start("prometheus", command, folder)
    try:
        prometheus = Prometheus(f"http://127.0.0.1:{port}", folder)
        wait_until("Prometheus to be ready", prometheus.ready, 60, process)
        yield prometheus
    finally:
        process.stop()
