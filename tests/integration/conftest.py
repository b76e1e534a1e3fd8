"""Fixtures of the operator's integration tests; the others need none from here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from integration.operator_bed import Bed, Operator
from kubernetes import client, config

from support.controlplane import ControlPlane

_numbers = itertools.count(1)
MakeBed = Callable[[], Bed]


@pytest.fixture(scope="module")
def admin(apiserver: ControlPlane) -> Iterator[client.ApiClient]:
    """A client of the administrator, with garbage collector and Job controller at work."""
    with config.new_client_from_config(str(apiserver.with_controllers().kubeconfig)) as api:
        yield api


@pytest.fixture(scope="module")
def bare_bed(
    apiserver: ControlPlane, admin: client.ApiClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeBed]:
    """Make beds that are not prepared yet; what is started in them is stopped at the end of the module."""
    beds: list[Bed] = []

    def make() -> Bed:
        name = f"operator-{next(_numbers)}"
        folder: Path = tmp_path_factory.mktemp(name)
        beds.append(Bed(apiserver, admin, name, folder))
        return beds[-1]

    yield make
    for bed in beds:
        bed.stop()


@pytest.fixture(scope="module")
def bed(bare_bed: MakeBed) -> Bed:
    """The namespace that the tests of a module share."""
    return bare_bed().prepare()


@pytest.fixture(scope="module")
def operator(bed: Bed) -> Operator:
    """The operator that the tests of a module share; it leads."""
    return bed.start().leads()
