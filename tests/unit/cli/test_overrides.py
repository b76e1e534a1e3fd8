"""`--set`: precedence, typing by field, lists by name and index, refusals with suggestions."""

from __future__ import annotations

from typing import Any

import pytest

from fljob_cli.errors import InputError
from fljob_cli.overrides import apply_overrides


def manifest() -> dict[str, Any]:
    return {
        "apiVersion": "fljob.dev/v1alpha1",
        "kind": "FLJob",
        "metadata": {"name": "movies"},
        "spec": {
            "model": {"name": "ncf"},
            "dataset": {"name": "synthetic"},
            "rounds": 20,
            "trainers": [{"name": "site-0"}, {"name": "site-1"}],
        },
    }


def refusal(setting: str) -> str:
    with pytest.raises(InputError) as caught:
        apply_overrides(manifest(), [setting])
    (problem,) = caught.value.problems
    return str(problem)


def test_a_setting_wins_over_the_file() -> None:
    assert apply_overrides(manifest(), ["spec.rounds=3"])["spec"]["rounds"] == 3


def test_the_last_of_two_settings_of_one_field_wins() -> None:
    assert apply_overrides(manifest(), ["spec.rounds=3", "spec.rounds=4"])["spec"]["rounds"] == 4


def test_the_given_manifest_stays_as_it_was() -> None:
    before = manifest()
    apply_overrides(before, ["spec.trainers[site-0].resources.limits.cpu=2"])
    assert before == manifest()


def test_parents_that_are_not_there_are_made() -> None:
    spec = apply_overrides(manifest(), ["spec.strategy.localEpochs=2"])["spec"]
    assert spec["strategy"] == {"localEpochs": 2}


def test_a_decimal_field_keeps_its_text() -> None:
    spec = apply_overrides(manifest(), ["spec.optimizer.learningRate=0.01"])["spec"]
    assert spec["optimizer"] == {"learningRate": "0.01"}


def test_a_field_of_text_or_number_takes_a_whole_number_as_number() -> None:
    spec = apply_overrides(manifest(), ["spec.quorum.minTrainers=1"])["spec"]
    assert spec["quorum"] == {"minTrainers": 1}


def test_a_field_of_text_or_number_takes_a_percentage_as_text() -> None:
    spec = apply_overrides(manifest(), ["spec.quorum.minTrainers=50%"])["spec"]
    assert spec["quorum"] == {"minTrainers": "50%"}


def test_a_value_may_hold_an_equals_sign() -> None:
    spec = apply_overrides(manifest(), ["spec.model.parameters.layers=a=b"])["spec"]
    assert spec["model"]["parameters"] == {"layers": "a=b"}


def test_a_switch_takes_true() -> None:
    assert apply_overrides(manifest(), ["spec.suspend=true"])["spec"]["suspend"] is True


def test_an_item_of_a_list_is_found_by_name() -> None:
    spec = apply_overrides(manifest(), ["spec.trainers[site-1].resources.limits.cpu=2"])["spec"]
    assert spec["trainers"][1]["resources"] == {"limits": {"cpu": 2}}


def test_an_item_of_a_list_is_found_by_position() -> None:
    spec = apply_overrides(manifest(), ["spec.trainers[0].name=first"])["spec"]
    assert [trainer["name"] for trainer in spec["trainers"]] == ["first", "site-1"]


def test_a_whole_list_can_be_given_as_yaml() -> None:
    spec = apply_overrides(manifest(), ["spec.trainers=[{name: only}]"])["spec"]
    assert spec["trainers"] == [{"name": "only"}]


def test_a_map_key_with_dots_goes_in_brackets() -> None:
    spec = apply_overrides(manifest(), ["spec.trainers[0].nodeSelector[kubernetes.io/hostname]=n1"])["spec"]
    assert spec["trainers"][0]["nodeSelector"] == {"kubernetes.io/hostname": "n1"}


def test_a_date_is_text_as_in_a_manifest() -> None:
    assert apply_overrides(manifest(), ["metadata.annotations={made: 2026-01-01}"])["metadata"]["annotations"] == {
        "made": "2026-01-01"
    }


def test_a_whole_number_without_end_is_refused() -> None:
    assert "cannot read `9999" in refusal(f"spec.rounds={'9' * 5000}")


def test_an_unknown_key_is_refused_with_a_suggestion() -> None:
    assert refusal("spec.roundz=3") == "spec.roundz: unknown key `roundz`. Did you mean `rounds`?"


def test_an_unknown_nested_key_is_refused_with_its_whole_path() -> None:
    assert refusal("spec.optimizer.learning_rate=1") == (
        "spec.optimizer.learning_rate: unknown key `learning_rate`. Did you mean `learningRate`?"
    )


def test_an_unknown_item_is_refused_with_a_suggestion() -> None:
    assert refusal("spec.trainers[site-2].resources.limits.cpu=2") == (
        "spec.trainers[site-2]: there is no item named `site-2`. Did you mean `site-1`?"
    )


def test_a_position_past_the_end_is_refused() -> None:
    assert "there is no item 5: the list has 2 (0 to 1)" in refusal("spec.trainers[5].name=x")


def test_a_key_under_a_plain_value_is_refused() -> None:
    assert "holds a plain value" in refusal("spec.rounds.most=3")


def test_the_status_cannot_be_set() -> None:
    assert "unknown key `status`" in refusal("status.state=Running")


def test_a_setting_without_a_value_is_refused() -> None:
    assert "written path=value" in refusal("spec.rounds")


def test_all_refusals_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        apply_overrides(manifest(), ["spec.roundz=3", "spec.sed=1"])
    assert [problem.path for problem in caught.value.problems] == ["spec.roundz", "spec.sed"]
