"""The resource as a value: strict in, canonical out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fljob_api.fljob import FLJob
from fljob_api.job_config import JobConfig


def _manifest(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "fljob.dev/v1alpha1",
        "kind": "FLJob",
        "metadata": {"name": "movies", "namespace": "films", "resourceVersion": "7"},
        "spec": {
            "model": {"name": "ncf"},
            "rounds": 3,
            "dataset": {"name": "synthetic"},
            "trainers": [{"name": "site-0"}],
            **spec,
        },
    }


def test_the_key_is_namespace_and_name() -> None:
    assert FLJob.from_dict(_manifest()).key == "films/movies"


def test_a_value_survives_the_way_out_and_in() -> None:
    job = FLJob.from_dict(_manifest(quorum={"minTrainers": "50%"}, stopCriteria=[]))

    assert FLJob.from_dict(job.to_dict()) == job


def test_the_manifest_has_the_metadata_as_given_and_no_status() -> None:
    manifest = FLJob.from_dict({**_manifest(), "status": {"incarnation": 3}}).to_manifest()

    assert manifest["metadata"] == {"name": "movies", "namespace": "films", "resourceVersion": "7"}
    assert "status" not in manifest


@pytest.mark.parametrize("spec", [{"rounds": "3"}, {"suspend": "true"}, {"suspend": 1}, {"seed": True}, {"seed": 1.0}])
def test_nothing_is_guessed_from_a_value_of_another_type(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(spec))):
        FLJob.from_dict(_manifest(**spec))


def test_a_job_cannot_be_changed_in_place() -> None:
    job = FLJob.from_dict(_manifest())

    with pytest.raises(ValidationError, match="frozen"):
        job.spec.rounds = 4  # type: ignore[misc]


def _config() -> JobConfig:
    return JobConfig(
        name="movies",
        uid="1234",
        spec=FLJob.from_dict(_manifest()).spec,
        coordinator="movies-coordinator:50051",
        servers=["movies-server-0:50051"],
    )


def test_a_job_configuration_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(_config().to_json(), encoding="utf-8")

    assert JobConfig.read(path) == _config()


def test_equal_job_configurations_are_equal_bytes() -> None:
    assert _config().to_json() == JobConfig.from_dict(_config().to_dict()).to_json()


def test_connections_are_encrypted_unless_switched_off() -> None:
    assert _config().tls_enabled


def test_an_address_without_a_port_is_refused() -> None:
    value = {**_config().to_dict(), "coordinator": "movies-coordinator"}

    with pytest.raises(ValidationError, match="coordinator"):
        JobConfig.from_dict(value)


def test_specs_tell_in_which_fields_they_differ() -> None:
    spec = FLJob.from_dict(_manifest(seed=1)).spec
    other = FLJob.from_dict(_manifest(seed=2, quorum={"minTrainers": "50%"})).spec
    assert spec.differing(other) == other.differing(spec) == {"seed", "quorum"}
    assert spec.differing(spec) == set()
