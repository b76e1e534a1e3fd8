"""Renders the chart by the real helm and hands out its objects; used by every test of this folder."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support import assets

CHART = Path(__file__).parents[2] / "charts/fljob"
RELEASE, NAMESPACE = "fljob", "fljob-system"
MONITORED = {
    "monitoring": {
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboards": {"enabled": True},
    }
}
Values = dict[str, Any]


class HelmError(RuntimeError):
    """Helm refused; the message is helm's own."""


@dataclass(frozen=True)
class Rendered:
    """The objects of one rendering."""

    objects: tuple[dict[str, Any], ...]

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return the objects of a kind."""
        return [o for o in self.objects if o["kind"] == kind]

    def only(self, kind: str, name: str | None = None) -> dict[str, Any]:
        """Return the one object of a kind (and name); fails when there is another number of them."""
        (found,) = [o for o in self.all(kind) if name in (None, o["metadata"]["name"])]
        return found

    @property
    def operator(self) -> dict[str, Any]:
        """The pod template of the operator."""
        template: dict[str, Any] = self.only("Deployment")["spec"]["template"]
        return template

    @property
    def env(self) -> dict[str, str]:
        """The operator's environment variables that have a plain value."""
        (container,) = self.operator["spec"]["containers"]
        return {e["name"]: e["value"] for e in container["env"] if "value" in e}


def helm(*arguments: str, stdin: str | None = None) -> str:
    """Run helm and return its output; raises HelmError with its words."""
    done = subprocess.run(
        [str(assets.helm()), *arguments], input=stdin, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise HelmError(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def render(values: Values | None = None, *, chart: Path = CHART) -> Rendered:
    """Render the chart with these values over its defaults."""
    arguments = ("template", RELEASE, str(chart), "--namespace", NAMESPACE, "--values", "-")
    text = helm(*arguments, stdin=yaml.safe_dump(values or {}))
    return Rendered(tuple(o for o in yaml.safe_load_all(text) if o))
