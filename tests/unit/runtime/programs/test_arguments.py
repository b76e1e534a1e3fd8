"""Where the programs find a job's checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from integration.local_jobs import job

from fljob_api.exit_codes import ExitCode
from fljob_api.job_config import JobConfig
from fljob_runtime.programs.arguments import Checkpoints, UsageError, checkpoints_of

CLAIM = {"persistentVolumeClaim": {"claimName": "mine"}}


def config(checkpoint: dict[str, Any] | None) -> JobConfig:
    spec = job(checkpoint=checkpoint).spec
    return JobConfig(name="small", uid="u", spec=spec, coordinator="a:1", servers=["b:1"])


def test_without_a_checkpoint_there_is_no_place(tmp_path: Path) -> None:
    assert checkpoints_of(config(None), None, tmp_path) is None


def test_a_claim_is_where_the_pod_mounts_it(tmp_path: Path) -> None:
    assert checkpoints_of(config(CLAIM), None, tmp_path) == Checkpoints(Path("/checkpoint"))


def test_a_flag_comes_first(tmp_path: Path) -> None:
    found = checkpoints_of(config({"uri": "s3://bucket"}), tmp_path / "given", tmp_path)
    assert found == Checkpoints(tmp_path / "given")


def test_a_file_uri_is_a_folder_without_a_spool(tmp_path: Path) -> None:
    found = checkpoints_of(config({"uri": f"file://{tmp_path}/a/b"}), None, tmp_path / "scratch")
    assert found == Checkpoints(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_another_uri_is_a_store_with_its_spool_in_scratch(tmp_path: Path) -> None:
    found = checkpoints_of(config({"uri": "ftp://host/folder"}), None, tmp_path)
    assert found is not None
    assert found.remote is not None
    assert (found.root, found.remote.place) == (tmp_path / "checkpoint", "ftp://host/folder")


def test_a_store_without_a_driver_is_a_bad_configuration(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fsspec knows no store s4://") as caught:
        checkpoints_of(config({"uri": "s4://bucket"}), None, tmp_path)
    assert caught.value.code is ExitCode.BAD_CONFIG


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot make .*/file/a: ") as caught:
        checkpoints_of(config({"uri": f"file://{tmp_path}/file/a"}), None, tmp_path)
    assert caught.value.code is ExitCode.CHECKPOINT_UNUSABLE
