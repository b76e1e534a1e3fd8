"""`fljob model get` of a job that keeps its model behind a URI."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import pytest

from fljob_cli.cluster.api import Cluster
from fljob_cli.errors import CliError
from fljob_cli.model import get_from_cluster


class Jobs:
    """A cluster that has one FLJob."""

    def __init__(self, uri: str, training: dict[str, Any]) -> None:
        self._job = {
            "metadata": {"name": "movies"},
            "spec": {"checkpoint": {"uri": uri}},
            "status": {"training": training},
        }

    def find(self, name: str) -> dict[str, Any] | None:
        return self._job if name == "movies" else None


def fetched(root: Path, **training: Any) -> None:
    cluster = cast("Cluster", Jobs(f"file://{root}/store", training))
    get_from_cluster(cluster, "movies", root / "out", image=None)


def stored(root: Path) -> str:
    (root / "store" / "u" / "model").mkdir(parents=True)
    (root / "store" / "u" / "model" / "model.safetensors").write_bytes(b"model")
    return f"sha256:{hashlib.sha256(b'model').hexdigest()}"


def test_the_model_is_fetched_from_the_store(tmp_path: Path) -> None:
    fetched(tmp_path, modelUri="u/model/model.safetensors", modelDigest=stored(tmp_path))
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == b"model"


def test_a_model_of_another_digest_is_not_kept(tmp_path: Path) -> None:
    stored(tmp_path)
    with pytest.raises(CliError, match="its digest is"):
        fetched(tmp_path, modelUri="u/model/model.safetensors", modelDigest=f"sha256:{'0' * 64}")
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_gone_is_told_with_its_uri(tmp_path: Path) -> None:
    with pytest.raises(CliError, match=r"cannot read file://.*/store/u/model/model\.safetensors"):
        fetched(tmp_path, modelUri="u/model/model.safetensors", modelDigest="sha256:0")


def test_a_job_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="has no finished model yet"):
        fetched(tmp_path)
