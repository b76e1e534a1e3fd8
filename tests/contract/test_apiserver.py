"""A real API server with our CRD refuses, completes and freezes what the types say it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from contract.manifests import INVALID, Case, changed, full, minimal
from contract.server import FLJobs, Refusal

from fljob_api.fljob import FLJob
from fljob_api.manifest import read

pytestmark = pytest.mark.apiserver
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/fljob.yaml"))
REFUSED = [case for case in INVALID if case.by_api_server]
LEFT_TO_THE_OPERATOR = [case for case in INVALID if not case.by_api_server]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_the_api_server_refuses_what_validate_refuses_at_the_same_path(fljobs: FLJobs, case: Case) -> None:
    answer = fljobs.dry_run(changed(minimal(), case.changes))

    assert isinstance(answer, Refusal), answer
    assert case.path in answer.fields, answer.message


@pytest.mark.parametrize("case", LEFT_TO_THE_OPERATOR, ids=lambda case: case.name)
def test_the_api_server_leaves_names_and_keys_to_the_operator(fljobs: FLJobs, case: Case) -> None:
    assert not isinstance(fljobs.dry_run(changed(minimal(), case.changes)), Refusal)


@pytest.mark.parametrize("manifest", [minimal(), full()], ids=["minimal", "full"])
def test_the_api_server_stores_the_defaults_of_the_types(fljobs: FLJobs, manifest: dict[str, Any]) -> None:
    stored = fljobs.dry_run(manifest)

    assert isinstance(stored, dict), stored
    assert stored["spec"] == FLJob.from_dict(manifest).spec.to_dict()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_api_server_accepts_the_examples(fljobs: FLJobs, path: Path) -> None:
    manifest = read(path.read_text(encoding="utf-8")).value

    assert not isinstance(fljobs.dry_run(manifest), Refusal)


def _stored(fljobs: FLJobs, name: str, **spec: Any) -> None:
    answer = fljobs.create(changed(minimal(**spec), {"metadata/name": name}))
    assert isinstance(answer, dict), answer


_CHECKPOINT = {"volumeClaimTemplate": {"storage": "1Gi"}}
_SITES = [{"name": "site-0"}, {"name": "site-1"}]
FROZEN: dict[str, tuple[dict[str, Any], str]] = {
    "rounds shrink": ({"rounds": 2}, "spec.rounds"),
    "another model": ({"model": {"name": "other"}}, "spec.model"),
    "another parameter": ({"model": {"parameters": {"mode": "MLP"}}}, "spec.model"),
    "another learning rate": ({"optimizer": {"learningRate": "1"}}, "spec.optimizer"),
    "another dataset": ({"dataset": {"name": "movielens"}}, "spec.dataset"),
    "another batch size": ({"strategy": {"batchSize": 1}}, "spec.strategy"),
    "another scope": ({"parameterScopes": [{"name": "u", "scope": "Private"}]}, "spec.parameterScopes"),
    "other keys": ({"tables": [{"name": "u", "keys": "Any"}]}, "spec.tables"),
    "another seed": ({"seed": 7}, "spec.seed"),
    "another quorum": ({"quorum": {"minTrainers": 1}}, "spec.quorum"),
    "another cohort": ({"participation": {"count": 1}}, "spec.participation"),
    "another evaluation": ({"evaluation": {"everyRounds": 2}}, "spec.evaluation"),
    "another security": ({"security": {"tls": "Disabled"}}, "spec.security"),
    "another import": ({"imports": ["films"]}, "spec.imports"),
    "another round timeout": ({"roundTimeoutSeconds": 1}, "spec.roundTimeoutSeconds"),
    "another checkpoint": (
        {"checkpoint": {"volumeClaimTemplate": {"storage": "2Gi"}}},
        "spec.checkpoint",
    ),
    "no checkpoint any more": ({"checkpoint": None}, "spec.checkpoint"),
    "one trainer more": ({"trainers": [*_SITES, {"name": "site-2"}]}, "spec.trainers"),
    "one trainer less": ({"trainers": _SITES[:1], "quorum": {"minTrainers": 1}}, "spec.trainers"),
    "data that comes later": (
        {"trainers": [{"name": "site-0", "data": {"configMap": {"name": "a"}}}, {"name": "site-1"}]},
        "spec.trainers[0].data",
    ),
    "an image while it runs": ({"trainerTemplate": {"image": "other"}}, "spec.trainerTemplate"),
    "memory while it runs": ({"server": {"resources": {"limits": {"memory": "9Gi"}}}}, "spec.server"),
    "more shards": ({"server": {"replicas": 2}}, "spec.server"),
}


@pytest.fixture(scope="module")
def running(fljobs: FLJobs) -> str:
    _stored(fljobs, "running", checkpoint=_CHECKPOINT)
    return "running"


@pytest.mark.parametrize("what", FROZEN)
def test_a_running_job_refuses_a_change_of(fljobs: FLJobs, running: str, what: str) -> None:
    spec, path = FROZEN[what]

    answer = fljobs.patch(running, spec)

    assert isinstance(answer, Refusal), answer
    assert path in answer.fields, answer.message


FREE: dict[str, dict[str, Any]] = {
    "more rounds": {"rounds": 9},
    "suspend": {"suspend": True},
    "a stop criterion": {"stopCriteria": [{"metric": "AUC", "operator": "GreaterOrEqual", "value": "0.7"}]},
    "the time to live": {"ttlSecondsAfterFinished": 60},
    "the clean-up": {"cleanPodPolicy": "All"},
    "the active deadline": {"activeDeadlineSeconds": 60},
}


@pytest.mark.parametrize("what", FREE)
def test_a_running_job_accepts_a_change_of(fljobs: FLJobs, what: str) -> None:
    name = "free-" + what.replace(" ", "-")
    _stored(fljobs, name, checkpoint=_CHECKPOINT)

    assert not isinstance(fljobs.patch(name, FREE[what]), Refusal)


def test_an_optional_field_cannot_be_removed_and_set_anew(fljobs: FLJobs) -> None:
    _stored(fljobs, "removed", checkpoint=_CHECKPOINT)

    removed = fljobs.patch("removed", {"checkpoint": None})

    assert isinstance(removed, Refusal)


def test_an_optional_field_cannot_be_set_later(fljobs: FLJobs) -> None:
    _stored(fljobs, "late")

    answer = fljobs.patch("late", {"checkpoint": _CHECKPOINT})

    assert isinstance(answer, Refusal)
    assert "spec.checkpoint" in answer.fields


SUSPENDED_CHANGES: dict[str, dict[str, Any]] = {
    "image": {"trainerTemplate": {"image": "other"}},
    "priority": {"coordinator": {"priorityClassName": "low"}},
    "memory": {"server": {"resources": {"limits": {"memory": "9Gi"}}}},
    "node": {"trainers": [{"name": "site-0", "nodeSelector": {"a": "b"}}, {"name": "site-1"}]},
    "number of shards": {"server": {"replicas": 2}},
    "resume": {"suspend": False, "trainerTemplate": {"nodeSelector": {"pool": "kueue"}}},
}


@pytest.mark.parametrize("what", SUSPENDED_CHANGES)
def test_a_suspended_job_accepts_another(fljobs: FLJobs, what: str) -> None:
    name = "suspended-" + what.replace(" ", "-")
    _stored(fljobs, name, checkpoint=_CHECKPOINT, suspend=True)

    assert not isinstance(fljobs.patch(name, SUSPENDED_CHANGES[what]), Refusal)


def test_a_job_of_the_largest_size_fits_the_cost_budget_of_the_api_server(fljobs: FLJobs) -> None:
    trainers = [{"name": f"site-{i}", "nodeSelector": {"site": str(i)}} for i in range(128)]

    assert not isinstance(fljobs.dry_run(minimal(trainers=trainers)), Refusal)
