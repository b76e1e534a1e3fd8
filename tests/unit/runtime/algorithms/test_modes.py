"""From a strategy to the server's rule and optimizer."""

from __future__ import annotations

from typing import Any

import pytest

from fljob_api.strategy import Mode, StrategySpec
from fljob_runtime.algorithms.async_sgd import Async
from fljob_runtime.algorithms.geo import Geo
from fljob_runtime.algorithms.modes import exchange_rule, server_optimizer
from fljob_runtime.algorithms.server_optimizers import Adagrad, Sgd
from fljob_runtime.algorithms.step_sync import StepSync
from fljob_runtime.registry import RegistryError

ADAGRAD = {"serverOptimizer": {"name": "Adagrad", "learningRate": "0.05"}}


def strategy(mode: str, **fields: Any) -> StrategySpec:
    return StrategySpec.from_dict({"mode": mode, **fields})


def test_without_a_server_optimizer_there_is_none() -> None:
    assert server_optimizer(strategy("Sync")) is None


def test_the_server_optimizer_has_the_rate_and_parameters_of_the_strategy() -> None:
    made = server_optimizer(
        strategy("Sync", serverOptimizer={"name": "Adagrad", "learningRate": "0.5", "parameters": {"tau": "0.25"}})
    )
    assert isinstance(made, Adagrad)
    assert (float(made.rate), float(made._tau)) == (0.5, 0.25)


def test_an_unknown_server_optimizer_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RegistryError, match="Adagrad"):
        server_optimizer(strategy("Sync", serverOptimizer={"name": "Adagard"}))


def test_sync_exchanges_nothing_within_a_round() -> None:
    assert exchange_rule(strategy("Sync"), None) is None


@pytest.mark.parametrize(("fields", "summed"), [({}, True), ({"rowAveraging": "All"}, False)])
def test_geo_sums_the_changes_of_rows_unless_told_to_average(fields: dict[str, str], *, summed: bool) -> None:
    rule = exchange_rule(strategy("Geo", **fields), None)
    assert isinstance(rule, Geo)
    assert rule._sum_rows is summed


@pytest.mark.parametrize(("mode", "rule"), [("Async", Async), ("StepSync", StepSync)])
def test_modes_of_gradients_step_with_the_servers_optimizer(mode: str, rule: type[Async] | type[StepSync]) -> None:
    chosen = strategy(mode, **ADAGRAD)
    optimizer = server_optimizer(chosen)
    made = exchange_rule(chosen, optimizer)
    assert isinstance(made, rule)
    assert made._optimizer is optimizer


@pytest.mark.parametrize("mode", [Mode.ASYNC, Mode.STEP_SYNC])
def test_a_mode_of_gradients_without_an_optimizer_is_refused(mode: Mode) -> None:
    chosen = strategy(mode, **ADAGRAD).model_copy(update={"server_optimizer": None})
    with pytest.raises(ValueError, match=r"needs strategy\.serverOptimizer"):
        exchange_rule(chosen, None)


def test_only_step_sync_keeps_its_trainers_in_step() -> None:
    optimizer = server_optimizer(strategy("Async", serverOptimizer={"name": "SGD"}))
    assert isinstance(optimizer, Sgd)
    found = {mode: exchange_rule(strategy(mode, **ADAGRAD), optimizer) for mode in ("Async", "StepSync")}
    assert {mode: rule.lockstep for mode, rule in found.items() if rule} == {"Async": False, "StepSync": True}
