"""Checkpoints behind a URI: what `store` and `rebalance` do in a folder, done with files that are put and got whole.

Used by programs.coordinator (RemoteStore) and server.shard (load_remote_part). The paths, files and manifests are those
of a folder, so a folder that is copied to a store, or back, goes on to be good.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from fljob_runtime.checkpoints.chain import MAX_FILES
from fljob_runtime.checkpoints.manifest import FILE, Manifest, manifest_bytes, parse_manifest
from fljob_runtime.checkpoints.model import SIGNATURE, assemble_model
from fljob_runtime.checkpoints.rebalance import Wanted, load_part
from fljob_runtime.checkpoints.remote import Remote
from fljob_runtime.checkpoints.shard_file import ShardFileName, ShardPart, read_base
from fljob_runtime.errors import CheckpointError
from fljob_runtime.messages import SavedVersion

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteStore:
    """Checkpoints of one job in a store. `about` goes into the finished model's signature."""

    remote: Remote
    job_uid: str
    about: Mapping[str, Any]

    def durable(self, at_most: int) -> list[Manifest]:
        """Return the complete versions up to `at_most`, newest first, of any number of shards.

        What is torn or lacks a file is skipped with a warning. Raises UnreachableError and, when the store refuses,
        CheckpointError.
        """
        found, names = [], cache(self.remote.names)
        for version in reversed(self._versions()):
            if version > at_most or FILE not in names(self._folder(version)):
                continue
            (content,) = self.remote.read([f"{self._folder(version)}/{FILE}"])
            try:
                found.append(self._checked(version, content, names))
            except CheckpointError as error:
                _log.warning("version %d is skipped: %s", version, error)
        return found

    def record(self, version: int, results: Sequence[SavedVersion], release: Sequence[int]) -> None:
        """Write the manifest that makes a version durable, then delete those released.

        Raises CheckpointError or UnreachableError.
        """
        files = tuple(ShardFileName(result.checkpoint, result.checkpoint_digest) for result in results)
        bases = tuple(ShardFileName(*base) for result in results for base in result.checkpoint_bases)
        manifest = Manifest(self.job_uid, version, files, tuple(result.digest for result in results), bases)
        self.remote.write(f"{self._folder(version)}/{FILE}", manifest_bytes(manifest))
        self._prune({old for old in release if old != version}, newest=version)

    def assemble(self, version: int) -> tuple[str, str]:
        """Write the finished model of a durable version; return its relative path and its digest, `sha256:<hex>`.

        Raises CheckpointError or UnreachableError.
        """
        found = next((m for m in self.durable(version) if m.version == version), None)
        if found is None:
            raise CheckpointError(f"{self._shown(version)}: no complete checkpoint to assemble")
        try:
            for path in sorted(found.needed):
                self.remote.fetch(path)
            model = assemble_model(self.remote.spool, found, self.about)
            self.remote.put(f"{self.job_uid}/model/{SIGNATURE}")
            self.remote.put(model.path)
        finally:
            self.remote.forget()
        return model.path, f"sha256:{model.digest}"

    def _prune(self, released: set[int], *, newest: int) -> None:
        """Delete released versions, and of all older than `newest` each file that no manifest needs."""
        there = {version: self.remote.names(self._folder(version)) for version in self._versions()}
        for version in released & there.keys():
            self.remote.delete(f"{self._folder(version)}/{FILE}")
            there[version] -= {FILE}
        kept = [version for version, names in there.items() if FILE in names]
        needed = {path for version in kept for path in self._needed(version)}
        for version in there.keys() - set(kept):
            files = {f"{self._folder(version)}/{name}" for name in there[version]}
            if version >= newest:
                continue
            for path in sorted(files - needed):
                self.remote.delete(path)
            if not files & needed:
                self.remote.delete_folder(self._folder(version))

    def _needed(self, version: int) -> frozenset[str]:
        """Return the files that a version needs; one whose manifest is damaged cannot be loaded and needs none."""
        path = f"{self._folder(version)}/{FILE}"
        (content,) = self.remote.read([path])
        try:
            return parse_manifest(f"{self.remote.place}/{path}", content).needed
        except CheckpointError as error:
            _log.warning("what this version builds upon is not kept for it: %s", error)
            return frozenset()

    def _checked(self, version: int, content: bytes, names: Callable[[str], frozenset[str]]) -> Manifest:
        where = f"{self._shown(version)}/{FILE}"
        manifest = parse_manifest(where, content)
        if (manifest.job_uid, manifest.version) != (self.job_uid, version):
            raise CheckpointError(f"{where}: is of version {manifest.version} of job {manifest.job_uid}")
        for path in sorted(manifest.needed):
            folder, _, name = path.rpartition("/")
            if name not in names(folder):
                raise CheckpointError(f"{where}: {path[:200]} is missing")
        return manifest

    def _versions(self) -> list[int]:
        return sorted(int(name) for name in self.remote.names(self.job_uid) if name.isdecimal())

    def _folder(self, version: int) -> str:
        return f"{self.job_uid}/{version}"

    def _shown(self, version: int) -> str:
        return f"{self.remote.place}/{self._folder(version)}"


def load_remote_part(remote: Remote, files: Sequence[ShardFileName], wanted: Wanted) -> ShardPart:
    """Return the wanted part of a version as `load_part` does, with the files it needs in the spool as long.

    Raises CheckpointError, and UnreachableError when the store does not answer.
    """
    try:
        for file in [files[wanted.shard]] if len(files) == wanted.num_shards else files:
            _fetch_chain(remote, file)
        return load_part(remote.spool, files, wanted)
    finally:
        remote.forget()


def _fetch_chain(remote: Remote, file: ShardFileName) -> None:
    """Copy a file and all that it builds upon; the checks are those of `open_chain`, which refuses longer chains."""
    base: ShardFileName | None = file
    for _ in range(MAX_FILES):
        if base is None:
            return
        base = read_base(remote.fetch(base.path))
