"""The coordinator's view of a job's checkpoints: durable versions, recording one, the finished model.

Used by roles.shards (its CheckpointStore) and programs.coordinator. A folder: a claim's mount or a run folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fljob_runtime.checkpoints.manifest import (
    Manifest,
    complete_versions,
    prune,
    write_manifest,
)
from fljob_runtime.checkpoints.model import assemble_model
from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.errors import CheckpointError
from fljob_runtime.messages import SavedVersion


@dataclass(frozen=True)
class FolderStore:
    """Checkpoints of one job under `root`. `about` goes into the finished model's signature."""

    root: Path
    job_uid: str
    about: Mapping[str, Any]

    def durable(self, at_most: int) -> list[Manifest]:
        """Return the complete versions up to `at_most`, newest first, of any number of shards.

        Raises CheckpointError when the folder cannot be read.
        """
        return complete_versions(self.root, self.job_uid, at_most=at_most)

    def record(self, version: int, results: Sequence[SavedVersion], release: Sequence[int]) -> None:
        """Write the manifest that makes a version durable, then delete those released; raises CheckpointError."""
        files = tuple(ShardFileName(result.checkpoint, result.checkpoint_digest) for result in results)
        bases = tuple(ShardFileName(*base) for result in results for base in result.checkpoint_bases)
        digests = tuple(result.digest for result in results)
        write_manifest(self.root, Manifest(self.job_uid, version, files, digests, bases))
        prune(self.root, self.job_uid, [old for old in release if old != version], newest=version)

    def assemble(self, version: int) -> tuple[str, str]:
        """Write the finished model of a durable version; return its relative path and its digest, `sha256:<hex>`.

        Raises CheckpointError.
        """
        found = next((m for m in self.durable(version) if m.version == version), None)
        if found is None:
            raise CheckpointError(f"{self.root / self.job_uid / str(version)}: no complete checkpoint to assemble")
        model = assemble_model(self.root, found, self.about)
        return model.path, f"sha256:{model.digest}"
