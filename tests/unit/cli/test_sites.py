"""Which folder stands in for each trainer's volume."""

from __future__ import annotations

from pathlib import Path

import pytest

from fljob_api.exit_codes import ExitCode
from fljob_api.fljob import FLJob
from fljob_cli.errors import CliError
from fljob_cli.sites import resolve


def job(*, claims: bool = True, dataset: str = "movielens") -> FLJob:
    data = {"data": {"persistentVolumeClaim": {"claimName": "c"}}} if claims else {}
    return FLJob.from_dict(
        {
            "apiVersion": "fljob.dev/v1alpha1",
            "kind": "FLJob",
            "metadata": {"name": "movies"},
            "spec": {
                "model": {"name": "ncf"},
                "dataset": {"name": dataset},
                "rounds": 1,
                "trainers": [{"name": "site-0", **data}, {"name": "site-1", **data}],
            },
        }
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("site-0", "site-1", "other"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_a_root_gives_each_trainer_the_folder_of_its_name(root: Path) -> None:
    assert resolve(job(), pairs=(), root=root) == {"site-0": root / "site-0", "site-1": root / "site-1"}


def test_a_pair_wins_over_the_root(root: Path) -> None:
    found = resolve(job(), pairs=[f"site-1={root / 'other'}"], root=root)
    assert found == {"site-0": root / "site-0", "site-1": root / "other"}


def test_a_manifest_without_volumes_takes_the_folders_that_are_given(root: Path) -> None:
    found = resolve(job(claims=False), pairs=[f"site-1={root / 'other'}"], root=root)
    assert found == {"site-0": root / "site-0", "site-1": root / "other"}


def test_trainers_that_make_their_own_data_need_no_folder() -> None:
    assert resolve(job(claims=False, dataset="synthetic"), pairs=(), root=None) == {}


def test_without_a_volume_too_a_dataset_that_reads_folders_needs_one() -> None:
    with pytest.raises(CliError, match="no folder for the data of site-0, site-1") as caught:
        resolve(job(claims=False), pairs=(), root=None)
    assert caught.value.code is ExitCode.BAD_DATA


def test_no_folder_at_all_is_bad_data_and_names_the_options() -> None:
    with pytest.raises(CliError) as caught:
        resolve(job(), pairs=(), root=None)
    assert (caught.value.code, "--data-root DIR" in caught.value.hint) == (ExitCode.BAD_DATA, True)


def test_a_root_without_a_trainers_folder_names_trainer_and_what_is_there(root: Path) -> None:
    (root / "site-1").rmdir()
    with pytest.raises(CliError) as caught:
        resolve(job(), pairs=(), root=root)
    assert str(caught.value).endswith("no folder for site-1")
    assert "other, site-0" in caught.value.hint


def test_a_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="no such folder"):
        resolve(job(), pairs=(), root=tmp_path / "nothing")


def test_a_pair_for_an_unknown_trainer_is_refused_with_a_suggestion(root: Path) -> None:
    with pytest.raises(CliError, match=r"no trainer `site-9`\. Did you mean `site-[01]`"):
        resolve(job(), pairs=[f"site-9={root}"], root=root)


def test_a_pair_with_a_folder_that_is_not_there_is_refused(root: Path) -> None:
    with pytest.raises(CliError, match="no such folder"):
        resolve(job(), pairs=[f"site-0={root / 'gone'}"], root=root)
