"""Where the coordinator reads what a person may change while the job runs: a file, or the FLJob itself.

Called by the control thread every couple of seconds. A source that cannot be read leaves the last word standing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from fljob_api import API_VERSION
from fljob_api.job_config import KubernetesTarget
from fljob_api.spec import FLJobSpec
from fljob_runtime.roles.kube import KubeClient, KubeError
from fljob_runtime.rounds.rules import Control, control_of

_MUTABLE: dict[str, Any] = {"suspend": False, "rounds": 1, "stopCriteria": []}  # with what absence means


class ControlError(Exception):
    """The source could not be read this time, or holds what is no valid spec."""


class ControlSource(Protocol):
    """Tells the present control."""

    def read(self) -> Control | None:
        """Return the control, None while nobody has said anything; raises ControlError."""


class FileControl:
    """A JSON file with some of suspend, rounds and stopCriteria; what is left out stays as in the spec."""

    def __init__(self, path: Path, spec: FLJobSpec) -> None:
        self._path = path
        self._spec = spec

    def read(self) -> Control | None:
        """Return the control, None while there is no file; raises ControlError."""
        try:
            changes = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ControlError(f"{self._path}: {error}") from error
        return merge(self._spec, changes, str(self._path))


class FLJobControl:
    """The mutable fields of the FLJob's spec, read from the API server."""

    def __init__(self, client: KubeClient, target: KubernetesTarget, spec: FLJobSpec) -> None:
        self._client = client
        self._path = f"/apis/{API_VERSION}/namespaces/{target.namespace}/fljobs/{target.name}"
        self._spec = spec

    def read(self) -> Control | None:
        """Return the control; raises ControlError."""
        try:
            spec = self._client.get(self._path).get("spec", {})
        except KubeError as error:
            raise ControlError(str(error)) from error
        return merge(self._spec, {key: spec.get(key, default) for key, default in _MUTABLE.items()}, self._path)


def merge(spec: FLJobSpec, changes: dict[str, Any], source: str) -> Control:
    """Return the control of a spec with some mutable fields replaced; raises ControlError."""
    unknown = sorted(set(changes) - set(_MUTABLE)) if isinstance(changes, dict) else ["(not an object)"]
    if unknown:
        raise ControlError(f"{source}: {', '.join(unknown)} cannot be changed; only {', '.join(_MUTABLE)} can")
    try:
        return control_of(FLJobSpec.from_dict({**spec.to_dict(), **changes}))
    except ValidationError as error:
        raise ControlError(f"{source}: {error}") from error
