"""Every invalid manifest of the table is refused by `validate`, at the path that the table says."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract.manifests import INVALID, RULES, Case, changed, full, minimal

from fljob_api.base import ApiModel
from fljob_api.manifest import read
from fljob_api.rules import Rule
from fljob_api.validation import validate

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/fljob.yaml"))


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.name)
def test_validate_refuses_an_invalid_manifest_at_its_path(case: Case) -> None:
    paths = [problem.path for problem in validate(changed(minimal(), case.changes))]

    assert paths == [case.path]


@pytest.mark.parametrize("case", [case for case in INVALID if case.says], ids=lambda case: case.name)
def test_validate_says_what_was_perhaps_meant(case: Case) -> None:
    (problem,) = validate(changed(minimal(), case.changes))

    assert case.says in str(problem)


def test_validate_accepts_the_minimal_manifest() -> None:
    assert validate(minimal()) == ()


def test_validate_accepts_a_manifest_with_every_kind_of_field() -> None:
    assert validate(full()) == ()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_validate_accepts_the_examples(path: Path) -> None:
    assert validate(read(path.read_text(encoding="utf-8")).value) == ()


def test_a_trainer_without_data_is_refused_in_a_cluster() -> None:
    manifest = minimal(dataset={"name": "movielens"})

    problems = validate(manifest, in_cluster=True)

    assert [problem.path for problem in problems] == ["spec.trainers[0].data", "spec.trainers[1].data"]


def test_a_trainer_without_data_is_accepted_in_a_local_run_which_gives_it_by_flag() -> None:
    assert validate(minimal(dataset={"name": "movielens"})) == ()


def test_a_dataset_that_makes_itself_needs_no_data_in_a_cluster() -> None:
    assert validate(minimal(), in_cluster=True) == ()


def test_checkpoints_in_a_folder_are_refused_in_a_cluster_alone() -> None:
    manifest = minimal(checkpoint={"uri": "file:///checkpoints"})

    problems = validate(manifest, in_cluster=True)

    assert [problem.path for problem in problems] == ["spec.checkpoint.uri"]
    assert validate(manifest) == ()


def test_a_kept_model_without_a_claim_is_refused_in_a_cluster_alone() -> None:
    manifest = minimal(initialValues=[{"path": "runs/gmf"}])

    problems = validate(manifest, in_cluster=True)

    assert [problem.path for problem in problems] == ["spec.initialValues[0].persistentVolumeClaim"]
    assert validate(manifest) == ()


def test_every_rule_between_fields_has_a_case() -> None:
    refused = {problem.message for case in RULES for problem in validate(changed(minimal(), case.changes))}

    assert {rule.message for rule in _rules(ApiModel)} == refused


def _rules(model: type[ApiModel]) -> list[Rule]:
    own: tuple[Rule, ...] = getattr(model, "RULES", ())
    return [*own, *(rule for below in model.__subclasses__() for rule in _rules(below))]


def test_an_object_of_another_kind_is_refused_before_its_fields() -> None:
    problems = validate({**minimal(), "kind": "Job", "apiVersion": "batch/v1"})

    assert [str(problem) for problem in problems] == [
        "apiVersion: must be fljob.dev/v1alpha1, not 'batch/v1' Did you mean `fljob.dev/v1alpha1`?",
        "kind: must be FLJob, not 'Job' Did you mean `FLJob`?",
    ]


def test_the_status_of_an_object_is_not_looked_at() -> None:
    assert validate({**minimal(), "status": {"a field of another release": 1}}) == ()
