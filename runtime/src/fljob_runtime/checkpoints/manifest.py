"""The manifest of one version, <root>/<uid>/<version>/manifest.json: with it the version is durable.

Written by the coordinator after all shards have answered, read at start. It names every shard's file with its
sha256, and all files that these build upon, which are kept as long as it is. It carries a digest of itself, so a torn
one is noticed and skipped. No randomness state is in it:
cohorts, shuffles and negatives are functions of (seed, round, client).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fljob_runtime.checkpoints.files import inside, write_atomically
from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.errors import CheckpointError

FORMAT = "fljob-manifest-2"
_FORMATS = ("fljob-manifest-1", FORMAT)  # the first had no bases
FILE = "manifest.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manifest:
    """One durable version: its shards' files and the digest of each shard's part, in shard order.

    bases: the files of older versions that those build upon.
    """

    job_uid: str
    version: int
    files: tuple[ShardFileName, ...]
    part_digests: tuple[str, ...]
    bases: tuple[ShardFileName, ...] = ()

    @property
    def needed(self) -> frozenset[str]:
        """Return the paths of all files without which the version cannot be loaded."""
        return frozenset(file.path for file in (*self.files, *self.bases))

    @property
    def num_shards(self) -> int:
        """Return the number of shards that the version is spread over."""
        return len(self.files)


def write_manifest(root: Path, manifest: Manifest) -> Path:
    """Write the manifest durably and return its path; raises CheckpointError."""
    text = manifest_bytes(manifest)
    path = inside(root, f"{manifest.job_uid}/{manifest.version}/{FILE}")
    write_atomically(path, lambda file: file.write(text))
    return path


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return the content of the manifest's file."""
    body = {"format": FORMAT, **asdict(manifest)}
    return json.dumps({**body, "digest": _digest(body)}, indent=1, sort_keys=True).encode()


def read_manifest(path: Path) -> Manifest:
    """Read and check one manifest; raises CheckpointError when it is torn, changed or not one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    return parse_manifest(str(path), content)


def parse_manifest(path: str, content: bytes) -> Manifest:
    """Check the content of one manifest's file; raises CheckpointError when it is torn, changed or not one."""
    try:
        body: dict[str, Any] = json.loads(content)
        digest = body.pop("digest")
        if (form := body.pop("format")) not in _FORMATS or digest != _digest({"format": form, **body}):
            raise CheckpointError(f"{path}: torn, changed or of another format")
        body["files"] = tuple(_file(**file) for file in body["files"])
        body["bases"] = tuple(_file(**file) for file in body.get("bases", ()))
        body["part_digests"] = tuple(_text(digest) for digest in body["part_digests"])
        manifest = Manifest(**body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a manifest: {error}") from error
    shards = len(manifest.files)
    if not shards or len(manifest.part_digests) != shards:
        raise CheckpointError(f"{path}: {shards} files of shards, {len(manifest.part_digests)} digests of their parts")
    return manifest


def complete_versions(root: Path, job_uid: str, *, at_most: int | None = None) -> list[Manifest]:
    """Return the job's durable versions, newest first; what is torn or lacks a file is skipped with a warning.

    The files' digests are checked by the shards, when they load them. Raises CheckpointError when the folder
    cannot be read at all.
    """
    found = []
    for version in reversed(_versions(root / job_uid)):
        if at_most is not None and version > at_most:
            continue
        path = root / job_uid / str(version) / FILE
        if not path.exists():
            continue
        try:
            found.append(_checked(root, job_uid, version, path))
        except CheckpointError as error:
            _log.warning("version %d is skipped: %s", version, error)
    return found


def prune(root: Path, job_uid: str, released: Iterable[int], *, newest: int) -> None:
    """Delete released versions, and of all older than `newest` each file that no manifest needs.

    A released version that a kept one builds upon loses its manifest alone, so it is not durable any more; its files go
    with the last version that needs them. What never got a manifest goes too. Raises CheckpointError.
    """
    folders = {version: root / job_uid / str(version) for version in _versions(root / job_uid)}
    for version in set(released) & folders.keys():
        _unlink(folders[version] / FILE)
    needed = {path for folder in folders.values() for path in _needed(folder / FILE)}
    for version, folder in folders.items():
        if version < newest and not (folder / FILE).exists():
            _empty(folder, [file for file in _content(folder) if f"{job_uid}/{version}/{file.name}" not in needed])


def _needed(path: Path) -> frozenset[str]:
    """Return the files that a version needs; one whose manifest cannot be read cannot be loaded and needs none."""
    try:
        return read_manifest(path).needed if path.exists() else frozenset()
    except CheckpointError as error:
        _log.warning("what this version builds upon is not kept for it: %s", error)
        return frozenset()


def _content(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise CheckpointError(f"cannot read {folder}: {error.strerror}") from error


def _empty(folder: Path, files: list[Path]) -> None:
    """Delete these files, and the folder if it is empty then."""
    for file in files:
        _unlink(file)
    if not _content(folder):
        try:
            folder.rmdir()
        except OSError as error:
            raise CheckpointError(f"cannot delete {folder}: {error.strerror}") from error


def _unlink(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot delete {file}: {error.strerror}") from error


def _versions(folder: Path) -> list[int]:
    try:
        return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"cannot read {folder}: {error.strerror}") from error


def _checked(root: Path, job_uid: str, version: int, path: Path) -> Manifest:
    manifest = read_manifest(path)
    if (manifest.job_uid, manifest.version) != (job_uid, version):
        raise CheckpointError(f"{path}: is of version {manifest.version} of job {manifest.job_uid}")
    for file in (*manifest.files, *manifest.bases):
        try:
            there = inside(root, file.path).is_file()
        except OSError as error:  # such as a name that no file system takes
            raise CheckpointError(f"{path}: {file.path[:200]}: {error.strerror}") from error
        if not there:
            raise CheckpointError(f"{path}: {file.path} is missing")
    return manifest


def _file(path: object, digest: object) -> ShardFileName:
    return ShardFileName(_text(path), _text(digest))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("paths and digests must be texts")
    return value


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
