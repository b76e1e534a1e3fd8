"""The objects that an FLJob should have, as plain manifests. Pure: values in, values out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Defaults:
    """What the installation supplies where the FLJob says nothing."""

    image: str
    pull_policy: str = "IfNotPresent"
