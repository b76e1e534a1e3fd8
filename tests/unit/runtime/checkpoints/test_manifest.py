"""Manifests: which versions are durable."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from fljob_runtime.checkpoints.manifest import (
    Manifest,
    complete_versions,
    prune,
    read_manifest,
    write_manifest,
)
from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.errors import CheckpointError
from support.shards import UID


def durable(root: Path, version: int, uid: str = UID) -> Path:
    """Make a version with one (empty) shard file and its manifest; return the manifest's path."""
    file = ShardFileName(f"{uid}/{version}/shard-0-of-1.safetensors", "0" * 64)
    path = write_manifest(root, Manifest(uid, version, (file,), ("d",)))
    (root / file.path).write_bytes(b"")
    return path


def versions(root: Path, at_most: int | None = None) -> list[int]:
    return [manifest.version for manifest in complete_versions(root, UID, at_most=at_most)]


def test_a_manifest_comes_back(tmp_path: Path) -> None:
    manifest = Manifest(UID, 4, (ShardFileName("a", "b"), ShardFileName("c", "d")), ("e", "f"))
    assert read_manifest(write_manifest(tmp_path, manifest)) == manifest


def test_durable_versions_come_newest_first(tmp_path: Path) -> None:
    for version in (2, 10, 9):
        durable(tmp_path, version)
    assert versions(tmp_path) == [10, 9, 2]


def test_versions_after_the_wanted_one_are_left_out(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        durable(tmp_path, version)
    assert versions(tmp_path, at_most=2) == [2, 1]


def test_a_job_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert versions(tmp_path) == []


def test_a_version_without_manifest_is_not_durable(tmp_path: Path) -> None:
    durable(tmp_path, 2).unlink()
    assert versions(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"digest": "x", "format": "y"}'])
def test_a_torn_manifest_is_skipped_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    durable(tmp_path, 1)
    durable(tmp_path, 2).write_text(text)
    with caplog.at_level(logging.WARNING):
        assert versions(tmp_path) == [1]
    assert "version 2 is skipped" in caplog.text


def test_a_changed_manifest_is_skipped(tmp_path: Path) -> None:
    path = durable(tmp_path, 2)
    body = json.loads(path.read_text())
    body["files"][0]["digest"] = "f" * 64
    path.write_text(json.dumps(body))
    assert versions(tmp_path) == []


@pytest.mark.parametrize("files", [0, 2])
def test_a_manifest_with_no_file_or_more_files_than_digests_is_skipped(
    tmp_path: Path, files: int, caplog: pytest.LogCaptureFixture
) -> None:
    durable(tmp_path, 1)
    path = durable(tmp_path, 2)
    manifest = read_manifest(path)
    write_manifest(tmp_path, replace(manifest, files=manifest.files * files))
    assert versions(tmp_path) == [1]
    assert f"{files} files of shards, 1 digests" in caplog.text


def test_a_manifest_whose_file_is_gone_is_skipped(tmp_path: Path) -> None:
    path = durable(tmp_path, 2)
    (path.parent / "shard-0-of-1.safetensors").unlink()
    assert versions(tmp_path) == []


def test_a_manifest_that_names_a_file_beyond_what_file_systems_take_is_skipped(tmp_path: Path) -> None:
    write_manifest(tmp_path, Manifest(UID, 2, (ShardFileName(f"{UID}/2/{'5' * 300}", "0" * 64),), ("d",)))
    assert versions(tmp_path) == []


def test_another_job_s_manifest_is_skipped(tmp_path: Path) -> None:
    foreign = durable(tmp_path, 2, uid="other").read_bytes()
    durable(tmp_path, 2).write_bytes(foreign)
    assert versions(tmp_path) == []


def test_released_versions_are_gone_and_the_others_stay(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        durable(tmp_path, version)
    prune(tmp_path, UID, [1], newest=3)
    assert versions(tmp_path) == [3, 2]
    assert not (tmp_path / UID / "1").exists()


def test_releasing_what_is_not_there_is_no_fault(tmp_path: Path) -> None:
    prune(tmp_path, UID, [7], newest=8)
    assert versions(tmp_path) == []


def building_upon(root: Path, version: int, *bases: int) -> None:
    """Make a version whose file builds upon those of others."""
    names = [ShardFileName(f"{UID}/{number}/shard-0-of-1.safetensors", "0" * 64) for number in (version, *bases)]
    write_manifest(root, Manifest(UID, version, (names[0],), ("d",), tuple(names[1:])))
    (root / names[0].path).write_bytes(b"")


def test_a_released_version_that_another_builds_upon_keeps_its_file_but_is_not_durable(tmp_path: Path) -> None:
    building_upon(tmp_path, 1)
    building_upon(tmp_path, 2, 1)
    prune(tmp_path, UID, [1], newest=2)
    assert versions(tmp_path) == [2]
    assert [path.name for path in (tmp_path / UID / "1").iterdir()] == ["shard-0-of-1.safetensors"]


def test_the_file_goes_with_the_last_version_that_builds_upon_it(tmp_path: Path) -> None:
    building_upon(tmp_path, 1)
    building_upon(tmp_path, 2, 1)
    building_upon(tmp_path, 3, 2, 1)
    prune(tmp_path, UID, [1, 2], newest=3)
    building_upon(tmp_path, 4)
    prune(tmp_path, UID, [3], newest=4)
    assert sorted(path.name for path in (tmp_path / UID).iterdir()) == ["4"]


def test_what_a_failed_write_left_goes_with_the_next_version_but_not_what_is_being_written(tmp_path: Path) -> None:
    for version in (2, 4):
        durable(tmp_path, version).unlink()
    durable(tmp_path, 3)
    prune(tmp_path, UID, [], newest=3)
    assert sorted(path.name for path in (tmp_path / UID).iterdir()) == ["3", "4"]


def test_a_version_one_of_whose_bases_is_gone_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    building_upon(tmp_path, 1)
    building_upon(tmp_path, 2)
    building_upon(tmp_path, 3, 2)
    (tmp_path / UID / "2" / "shard-0-of-1.safetensors").unlink()
    with caplog.at_level(logging.WARNING):
        assert versions(tmp_path) == [1]
    assert "version 3 is skipped" in caplog.text
    assert "2/shard-0-of-1.safetensors is missing" in caplog.text


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / UID).write_text("a file")
    with pytest.raises(CheckpointError, match=f"cannot read .*{UID}"):
        versions(tmp_path)


@pytest.mark.parametrize("path", ["a\0b", "\ud800", 5], ids=["a zero byte", "half a letter", "a number"])
def test_a_version_whose_file_has_a_name_that_is_none_is_skipped(tmp_path: Path, path: str) -> None:
    durable(tmp_path, 1)
    write_manifest(tmp_path, Manifest(UID, 2, (ShardFileName(path, "0" * 64),), ("d",)))
    assert versions(tmp_path) == [1]
