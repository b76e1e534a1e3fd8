"""Where the coordinator's Progress goes: a file (local run) or a ConfigMap (cluster).

Called by the publisher's thread. A sink writes one whole object or raises SinkError; it never waits for long.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from fljob_api.job_config import KubernetesTarget
from fljob_api.progress import PROGRESS_KEY, Progress
from fljob_runtime.roles.kube import KubeClient, KubeError


class SinkError(Exception):
    """The progress object could not be written this time."""


class ProgressSink(Protocol):
    """Takes the newest Progress."""

    def write(self, progress: Progress) -> None:
        """Store the object; raises SinkError."""


class FileProgress:
    """Replaces a file, so that a reader sees the old or the new object and nothing between."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, progress: Progress) -> None:
        """Store the object; raises SinkError."""
        draft = self._path.with_suffix(".tmp")
        try:
            draft.write_text(progress.model_dump_json(by_alias=True, exclude_none=True), encoding="utf-8")
            os.replace(draft, self._path)  # noqa: PTH105 - atomic, over an existing file
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}") from error


class ConfigMapProgress:
    """Patches one key of the job's progress ConfigMap, which the operator made for this incarnation."""

    def __init__(self, client: KubeClient, target: KubernetesTarget) -> None:
        self._client = client
        self._path = f"/api/v1/namespaces/{target.namespace}/configmaps/{target.progress_config_map}"

    def write(self, progress: Progress) -> None:
        """Store the object; raises SinkError."""
        text = progress.model_dump_json(by_alias=True, exclude_none=True)
        try:
            self._client.merge_patch(self._path, {"data": {PROGRESS_KEY: text}})
        except KubeError as error:
            raise SinkError(str(error)) from error
