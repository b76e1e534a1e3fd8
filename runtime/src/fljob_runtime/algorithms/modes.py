"""The algorithm of a job, and the server's side of its mode, made from its strategy.

Called by the trainer's setup and by the server program.
"""

from __future__ import annotations

from fljob_api.strategy import Mode, RowAveraging, StrategySpec
from fljob_runtime.algorithms import fednova, fedprox, scaffold, server_optimizers  # noqa: F401 - they register
from fljob_runtime.algorithms.algorithm import Algorithm
from fljob_runtime.algorithms.async_sgd import Async
from fljob_runtime.algorithms.exchange import ExchangeRule
from fljob_runtime.algorithms.geo import Geo
from fljob_runtime.algorithms.server_optimizers import ServerOptimizer
from fljob_runtime.algorithms.step_sync import StepSync
from fljob_runtime.registry import RegistryKind, find, parse_parameters


def algorithm(strategy: StrategySpec) -> Algorithm:
    """Return the algorithm that the strategy names; raises RegistryError for an unknown parameter."""
    cls, schema = find(RegistryKind.STRATEGY, strategy.name)
    made: Algorithm = cls(parse_parameters("spec.strategy.parameters", schema, strategy.parameters))
    return made


def server_optimizer(strategy: StrategySpec) -> ServerOptimizer | None:
    """Return the optimizer that the strategy names, None for none; raises RegistryError."""
    wanted = strategy.server_optimizer
    if wanted is None:
        return None
    return server_optimizers.make(wanted.name, float(wanted.learning_rate), wanted.parameters)


def exchange_rule(strategy: StrategySpec, optimizer: ServerOptimizer | None) -> ExchangeRule | None:
    """Return what a contribution within a round does to the values; None in the modes that have none.

    Raises ValueError for a mode that needs an optimizer, which the schema requires.
    """
    if not strategy.exchanges:
        return None
    if strategy.mode is Mode.GEO:
        return Geo(sum_rows=strategy.rows is RowAveraging.SUMMED)
    if optimizer is None:
        raise ValueError(f"mode {strategy.mode} needs strategy.serverOptimizer")
    if strategy.mode is Mode.ASYNC:
        return Async(optimizer)
    return StepSync(optimizer, weighting=strategy.weighting, row_averaging=strategy.rows)
