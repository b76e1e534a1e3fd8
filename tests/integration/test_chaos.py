"""A dozen jobs under random kills and pauses end as undisturbed ones do. More of them: `make chaos`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chaos import Bed

DEADLINE_S = 120.0
SEEDS = range(1, 13)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    made = Bed(tmp_path_factory.mktemp("chaos"), "Sync", DEADLINE_S)
    yield made
    made.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_job_under_random_kills_and_pauses_ends_as_an_undisturbed_one(seed: int, bed: Bed) -> None:
    trial = bed.trial(seed)
    assert trial.fault == "", [str(strike) for strike in trial.fell]
