"""The strategy part of the FLJob spec: which algorithm, and how updates meet the shared model."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from fljob_api.base import ApiModel
from fljob_api.fields import Decimal, Parameters, RegistryName
from fljob_api.rules import Rule, at_most_one

LARGEST_USUAL_BUFFER = 10  # the size that Nguyen et al. 2022 recommend
STALE_VERSIONS, MOST_STALE_VERSIONS = 10, 100


class StrategyName(StrEnum):
    """Federated algorithms."""

    FED_AVG = "FedAvg"
    FED_PROX = "FedProx"
    FED_NOVA = "FedNova"
    SCAFFOLD = "Scaffold"


class Mode(StrEnum):
    """How updates meet the shared model."""

    SYNC = "Sync"
    STEP_SYNC = "StepSync"
    ASYNC = "Async"
    GEO = "Geo"
    BUFFERED = "Buffered"


class Weighting(StrEnum):
    """How much a client's dense parameters count in the mean."""

    SAMPLES = "Samples"
    UNIFORM = "Uniform"


class RowAveraging(StrEnum):
    """How a row of a table is made of the clients' rows."""

    TOUCHED = "Touched"
    ALL = "All"
    SUMMED = "Summed"


class ServerOptimizerSpec(ApiModel):
    """The optimizer that the server runs (Reddi et al. 2021, https://arxiv.org/abs/2003.00295)."""

    name: RegistryName = Field(description="SGD, Momentum, Adagrad, Adam or Yogi.")
    learning_rate: Decimal = Field("1", description="Step size of the server, as a quoted decimal number.")
    parameters: Parameters = Field(
        default_factory=dict, description="What the optimizer takes beside the learning rate."
    )


class CompressorSpec(ApiModel):
    """One codec of a trainer's updates."""

    name: RegistryName = Field(description="none, fp16, bf16, int8, int4, topK or sketch.")
    parameters: Parameters = Field(default_factory=dict, description="What the codec takes.")


LAST_COMPRESSORS = ("fp16", "bf16", "int8", "int4")  # they leave no numbers to the next one


def _last(compression: list[CompressorSpec]) -> bool:
    """Return whether a codec that leaves no numbers stands nowhere but at the end."""
    return all(codec.name not in LAST_COMPRESSORS for codec in compression[:-1])


def _only(field: str, *modes: Mode) -> Rule:
    """Make the rule that a field is set in these modes only."""
    names = ", ".join(modes)
    listed = ", ".join(f"'{mode}'" for mode in modes)
    return Rule(
        cel=f"!has(self.{field}) || self.mode in [{listed}]",
        message=f"{field} is for mode {names}; remove it, or set strategy.mode",
        holds=lambda strategy: field not in strategy.to_dict() or strategy.mode in modes,
        field=field,
    )


class StrategySpec(ApiModel):
    """The federated algorithm (FedAvg: McMahan et al. 2017, https://arxiv.org/abs/1602.05629)."""

    RULES: ClassVar = (
        at_most_one("localEpochs", "innerSteps"),
        _only("geoStep", Mode.GEO),
        _only("bufferSize", Mode.BUFFERED),
        _only("maxStaleness", Mode.ASYNC, Mode.GEO, Mode.BUFFERED),
        _only("serverOptimizer", Mode.SYNC, Mode.STEP_SYNC, Mode.ASYNC, Mode.BUFFERED),
        _only("rowAveraging", Mode.SYNC, Mode.STEP_SYNC, Mode.GEO, Mode.BUFFERED),
        Rule(
            cel="!has(self.mode) || self.mode != 'Buffered' || !has(self.maxStaleness) || "
            f"self.maxStaleness <= {MOST_STALE_VERSIONS}",
            message="in mode Buffered the servers hold each version that an update may be made from: "
            f"maxStaleness is {MOST_STALE_VERSIONS} at most",
            holds=lambda s: s.mode is not Mode.BUFFERED or (s.max_staleness or 0) <= MOST_STALE_VERSIONS,
            field="maxStaleness",
        ),
        Rule(
            cel="!has(self.compression) || !has(self.name) || self.name == 'FedAvg'",
            message="only updates of FedAvg are compressed yet; remove compression",
            holds=lambda s: s.compression is None or s.name is StrategyName.FED_AVG,
            field="compression",
        ),
        Rule(
            cel="!has(self.compression) || self.compression.filter(c, c.name in ['fp16', 'bf16', 'int8', 'int4'])"
            ".size() <= (self.compression[self.compression.size() - 1].name in ['fp16', 'bf16', 'int8', 'int4'] "
            "? 1 : 0)",
            message="fp16, bf16, int8 and int4 leave nothing to a codec behind them; put one of them last",
            holds=lambda s: _last(s.compression or []),
            field="compression",
        ),
        Rule(
            cel="has(self.serverOptimizer) || !has(self.mode) || !(self.mode in ['StepSync', 'Async'])",
            message="in mode StepSync and Async the server applies the gradients: set serverOptimizer, "
            "such as {name: Adagrad, learningRate: '0.05'}",
            holds=lambda s: s.server_optimizer is not None or s.mode not in {Mode.STEP_SYNC, Mode.ASYNC},
            field="serverOptimizer",
            reason="FieldValueRequired",
        ),
        Rule(
            cel="!has(self.rowAveraging) || (self.mode == 'Geo' ? self.rowAveraging in ['All', 'Summed'] : "
            "self.rowAveraging in ['Touched', 'All'])",
            message="rowAveraging is Touched or All in mode Sync, StepSync and Buffered, Summed or All in mode Geo",
            holds=lambda s: (
                s.row_averaging is not (RowAveraging.TOUCHED if s.mode is Mode.GEO else RowAveraging.SUMMED)
            ),
            field="rowAveraging",
        ),
        Rule(
            cel="!has(self.name) || self.name == 'FedAvg' || !has(self.mode) || self.mode == 'Sync'",
            message="FedProx, FedNova and Scaffold are for mode Sync; in other modes leave name at FedAvg",
            holds=lambda s: s.name is StrategyName.FED_AVG or s.mode is Mode.SYNC,
            field="name",
        ),
        Rule(
            cel="!has(self.serverOptimizer) || !has(self.name) || self.name != 'Scaffold'",
            message="Scaffold takes the plain mean; remove serverOptimizer",
            holds=lambda s: s.server_optimizer is None or s.name is not StrategyName.SCAFFOLD,
            field="serverOptimizer",
        ),
    )
    name: StrategyName = Field(
        StrategyName.FED_AVG,
        description="FedAvg; FedProx: local steps held near the shared values; FedNova: changes divided by the number "
        "of steps behind them; Scaffold: local steps corrected by control variates. All but FedAvg in mode Sync only.",
    )
    parameters: Parameters = Field(
        default_factory=dict, description='What the algorithm takes: FedProx {mu: "0.01"}, the others nothing.'
    )
    mode: Mode = Field(
        Mode.SYNC,
        description="Sync: one update per trainer and round. StepSync: one step of the server per mini-batch of all. "
        "Async: each gradient at once. Geo: each trainer's changes at once, every geoStep mini-batches. "
        "Buffered: one update per trainer as it comes, a new version for every bufferSize of them.",
    )
    local_epochs: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Passes over the local data per round; 1 if neither this nor innerSteps is set.",
    )
    inner_steps: int | None = Field(
        None, ge=1, le=1_000_000, description="Mini-batches per round, instead of whole passes."
    )
    batch_size: int = Field(512, ge=1, le=1_048_576, description="Samples per mini-batch.")
    geo_step: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Geo: mini-batches from one exchange with the server to the next; 10 if unset.",
    )
    buffer_size: int | None = Field(
        None,
        ge=1,
        le=128,
        description="Buffered: updates that make a version; half of the trainers, rounded up, at most 10, if unset.",
    )
    max_staleness: int | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="Async, Geo: what others changed that many times since it was fetched is dropped, and counted. "
        "Buffered: versions that an update may be behind the one it would change, 10 if unset; a staler one likewise.",
    )
    weighting: Weighting = Weighting.SAMPLES
    row_averaging: RowAveraging | None = Field(
        None,
        description="Touched: a row's mean is over the clients that touched it, by how often; "
        "All: over every client, as plain FedAvg; Summed: the clients' changes are added. "
        "If unset Touched, in mode Geo Summed.",
    )
    server_optimizer: ServerOptimizerSpec | None = Field(
        None,
        description="Applies the trainers' mean update (Sync, Buffered) or gradients (StepSync, Async); in Sync and "
        "Buffered none if unset.",
    )
    compression: list[CompressorSpec] | None = Field(
        None,
        min_length=1,
        max_length=4,
        description="Codecs of what trainers send, applied in this order: in Sync and Buffered to the difference to "
        "the values that were pulled, in StepSync and Async to gradients, in Geo to changes. Without it all travels "
        "whole. Pulls are never compressed.",
    )

    @property
    def rows(self) -> RowAveraging:
        """Return how rows are made, the mode's way if unset."""
        return self.row_averaging or (RowAveraging.SUMMED if self.mode is Mode.GEO else RowAveraging.TOUCHED)

    @property
    def exchanges(self) -> bool:
        """Return whether trainers and server exchange values within a round."""
        return self.mode not in {Mode.SYNC, Mode.BUFFERED}

    @property
    def stalest(self) -> int:
        """Return how many versions an update of mode Buffered may be behind."""
        return STALE_VERSIONS if self.max_staleness is None else self.max_staleness

    def buffered(self, trainers: int) -> int:
        """Return how many updates make a version of mode Buffered in a job of so many trainers."""
        return self.buffer_size or min(LARGEST_USUAL_BUFFER, -(-trainers // 2))
