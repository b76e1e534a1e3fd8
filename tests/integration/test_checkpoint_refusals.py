"""What a checkpoint folder can hold that must not be loaded, and a disk that takes no more: each with its reason."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from integration.test_shard_keeper import Kept
from unit.runtime.checkpoints.test_files import full_after

from fljob_api.exit_codes import ExitCode
from fljob_runtime.checkpoints.manifest import complete_versions, read_manifest, write_manifest
from fljob_runtime.rounds.values import Durable, Restore, Restored, Unrecoverable
from support.shards import DEADLINE_S, UID, Servers

NEWEST = f"{UID}/2"


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """Versions 0, 1 and 2 of two shards, 1 and 2 increments, durable and no longer in memory."""
    with Servers.start(tmp_path, 2) as servers:
        made = Kept(servers, tmp_path)
        for version in range(3):
            assert made.committed(version) == Durable(version)
        assert [file.path for file in read_manifest(tmp_path / NEWEST / "manifest.json").bases][1::2] == [
            f"{UID}/0/shard-{shard}-of-2.safetensors" for shard in range(2)
        ]
        servers.coordinator().restore(-1, (), deadline_s=DEADLINE_S)
        yield made
        made.keeper.stop(None)


def tear(root: Path) -> None:
    path = root / NEWEST / "shard-1-of-2.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def lose_a_shard(root: Path) -> None:
    (root / NEWEST / "shard-1-of-2.safetensors").unlink()


def take_anothers(root: Path) -> None:
    """Put the manifest of another job's version in place of this one's."""
    path = root / NEWEST / "manifest.json"
    shutil.copy(write_manifest(root, replace(read_manifest(path), job_uid="another")), path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (tear, r"version 2 cannot be loaded: .*2/shard-1-of-2.safetensors: sha256 is .* torn or replaced"),
        (lose_a_shard, r"version 2 is skipped: .*2/shard-1-of-2.safetensors is missing"),
        (take_anothers, r"version 2 is skipped: .*2/manifest.json: is of version 2 of job another"),
    ],
)
def test_a_version_that_is_not_whole_is_passed_over_and_the_reason_is_logged(
    kept: Kept, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], reason: str
) -> None:
    damage(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert kept.ask(Restore(2)) == Restored(1)
    assert re.search(reason, caplog.text)


def test_a_full_disk_ends_the_job_and_says_what_to_do(kept: Kept, tmp_path: Path) -> None:
    assert kept.ask(Restore(2)) == Restored(2)
    with full_after(100):
        event = kept.committed(3)
    assert isinstance(event, Unrecoverable)
    assert event.exit_code is ExitCode.CHECKPOINT_UNUSABLE
    assert re.search(
        r"shard 0: cannot write .*/3/shard-0-of-2.safetensors: File too large; free space on", event.message
    )
    assert [manifest.version for manifest in complete_versions(tmp_path, UID)] == [2, 1, 0]
