"""FedProx: the proximal term by hand, on dense values and on the rows of a mini-batch, and what it does to clients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from unit.runtime.algorithms.federation import Client, Federation

from fljob_api.strategy import StrategySpec
from fljob_runtime.algorithms.algorithm import LocalStart
from fljob_runtime.algorithms.fedprox import FedProx, FedProxParameters, Proximal
from fljob_runtime.algorithms.modes import algorithm
from fljob_runtime.registry import RegistryError

FAR_APART = (Client(h=1.0, m=0.0, steps=10), Client(h=1.0, m=1.0, steps=10))


def moved() -> tuple[Proximal, dict[str, np.ndarray]]:
    """Return the term of a round with mu = 0.5 in which w went from 1 to 3, and each row from 0 to 2."""
    values = {"w": np.array([1.0], np.float32), "table": np.zeros((3, 1), np.float32)}
    term = FedProx(FedProxParameters(mu=0.5)).begin(LocalStart(values, {"w": ..., "table": np.array([0, 2])}, 0.1))
    values["w"] += 2
    values["table"] += 2
    return term, {"w": np.array([10.0], np.float32), "table": np.full((3, 1), 10.0, np.float32)}


def test_a_dense_gradient_gets_mu_times_the_way_gone() -> None:
    term, gradients = moved()
    term.correct("w", gradients["w"], ...)
    assert gradients["w"].tolist() == [11.0]


def test_rows_of_the_mini_batch_get_it_once_and_others_do_not() -> None:
    term, gradients = moved()
    term.correct("table", gradients["table"], np.array([2, 2]))
    assert gradients["table"][:, 0].tolist() == [10.0, 10.0, 11.0]


def test_clients_go_less_far_the_larger_mu_is(tmp_path: Path) -> None:
    ways = []
    for mu in ("0", "1", "10"):
        (tmp_path / mu).mkdir()
        job = Federation(tmp_path / mu, FAR_APART[1:], 0.05, "FedProx", parameters={"mu": mu})
        job.round(1)
        ways.append(job.value("w"))
    # steps of 0.05 along (w - 1) + mu w: w = (1 - (1 - 0.05 (1 + mu))^10) / (1 + mu)
    assert ways == pytest.approx([0.4012631, 0.3256608, 0.0908781], abs=1e-6)


def test_a_negative_mu_is_refused() -> None:
    with pytest.raises(RegistryError, match=r"spec\.strategy\.parameters\.mu: .*greater than or equal to 0"):
        algorithm(StrategySpec.model_validate({"name": "FedProx", "parameters": {"mu": "-1"}}))
