"""The FLJob spec: what to train, on whose data, how, and when to stop.

Read by the operator (children), the runtime (inside JobConfig) and the command line. `crd` makes the CRD
from these classes, so a field's description here is what `kubectl explain` prints.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from fljob_api.base import ApiModel
from fljob_api.compute import Device, Precision
from fljob_api.dump import DumpSpec
from fljob_api.fields import (
    Decimal,
    DnsLabel,
    IntOrPercent,
    Labels,
    ModuleName,
    Parameters,
    RegistryName,
)
from fljob_api.initial import InitialValues
from fljob_api.optimizer import OptimizerSpec
from fljob_api.roles import Resources, RoleTemplate, ServerTemplate
from fljob_api.rules import (
    Rule,
    Transition,
    at_most_one,
    frozen,
    frozen_unless_suspended,
    list_map,
)
from fljob_api.seeds import LARGEST_SEED, Seeds
from fljob_api.storage import Checkpoint, DataSource, StorageSource
from fljob_api.strategy import Mode, StrategyName, StrategySpec
from fljob_api.tables import Keys, ParameterScope, TableSpec

_SGD_ALONE = (StrategyName.FED_NOVA, StrategyName.SCAFFOLD)
_BY_NAME = list_map("name")


class ModelSpec(ApiModel):
    """The model to train, by its name in the registry."""

    name: RegistryName = Field(description="ncf, or a name that the user's image registers.")
    parameters: Parameters = Field(
        default_factory=dict, description="What the model takes, each value an integer or a string."
    )


class DatasetSpec(ApiModel):
    """The kind of data; where each trainer's part lies is said in trainers[].data."""

    name: RegistryName = Field(description="movielens, synthetic, or a name that the user's image registers.")
    parameters: Parameters = Field(default_factory=dict, description="What the data set takes.")


class TrainerSpec(ApiModel):
    """One site: one pod that trains where its data is."""

    TRANSITIONS: ClassVar = frozen("data", "storage")
    name: DnsLabel = Field(description="Name of the site; it becomes a host name.")
    data: DataSource | None = Field(None, description="Left out for a dataset that generates itself (synthetic).")
    storage: StorageSource | None = Field(
        None,
        description="Keeps private parameters, and Scaffold's control variates, over restarts; without it a lost pod "
        "begins with fresh ones.",
    )
    resources: Resources | None = None
    device: Device | None = Field(None, description="As spec.device, for this trainer; default: that.")
    node_selector: Labels | None = Field(None, description="Labels of the nodes that reach the data.")


class CriterionOperator(StrEnum):
    """How a stop criterion compares."""

    GREATER_OR_EQUAL = "GreaterOrEqual"
    LESS_OR_EQUAL = "LessOrEqual"
    NO_IMPROVEMENT = "NoImprovement"


class CriterionMetric(StrEnum):
    """Metrics that a stop criterion, or the choice of the best version, may read."""

    AUC = "AUC"
    LOSS = "Loss"
    ACCURACY = "Accuracy"
    HIT_RATE_AT_10 = "HR@10"
    NDCG_AT_10 = "NDCG@10"
    RECALL_AT_20 = "Recall@20"
    NDCG_AT_20 = "NDCG@20"
    MRR_AT_20 = "MRR@20"


class StopCriterion(ApiModel):
    """Ends training before `rounds`: at a value, or when `patience` evaluations bring no improvement."""

    RULES: ClassVar = (
        Rule(
            cel="self.operator == 'NoImprovement' || has(self.value)",
            message="value is required for GreaterOrEqual and LessOrEqual",
            holds=lambda c: c.operator is CriterionOperator.NO_IMPROVEMENT or c.value is not None,
            field="value",
            reason="FieldValueRequired",
        ),
    )
    metric: CriterionMetric
    operator: CriterionOperator
    value: Decimal | None = Field(
        None, description="The bound; for NoImprovement the least change that counts (default 0)."
    )
    patience: int = Field(1, ge=1, le=1000, description="Evaluations in a row that must meet the criterion.")


class SelectorSpec(ApiModel):
    """How the cohort of a round is chosen."""

    name: RegistryName = Field("Random", description="Random, All, or a name the user's image registers.")
    parameters: Parameters = Field(default_factory=dict, description="What the selector takes.")


class Participation(ApiModel):
    """How many trainers take part in a round; all of them if neither field is set."""

    RULES: ClassVar = (at_most_one("percent", "count"),)
    percent: int | None = Field(None, ge=1, le=100, description="Share of the trainers in each cohort, rounded up.")
    count: int | None = Field(None, ge=1, le=128, description="Number of trainers in each cohort.")
    selector: SelectorSpec = Field(default_factory=SelectorSpec)


class Quorum(ApiModel):
    """How many trainers must be there for a round to start and to count."""

    min_trainers: IntOrPercent = Field("100%", description="Number, or percent of the round's cohort (rounded up).")


class Evaluation(ApiModel):
    """When the shared model is evaluated on the trainers' held-out data."""

    every_rounds: int = Field(1, ge=1, le=10_000, description="Rounds from one evaluation to the next.")
    best_metric: CriterionMetric | None = Field(
        None,
        description="By which the best version is chosen, which is kept and shown. Default: AUC, Recall@20 or "
        "Accuracy, as the model has it. Where it is not measured the lowest loss is best.",
    )


class TlsMode(StrEnum):
    """Whether the job's connections are encrypted and authenticated."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class Security(ApiModel):
    """Protection of the wire: mutual TLS with one certificate per trainer unless Disabled."""

    tls: TlsMode = TlsMode.ENABLED


class CleanPodPolicy(StrEnum):
    """Which pods are deleted when the job has ended."""

    NONE = "None"
    RUNNING = "Running"
    ALL = "All"


class FailurePolicy(ApiModel):
    """How many trainers may fail for good before the job does."""

    max_failed_trainers: int | None = Field(
        None, ge=0, le=128, description="Default: as many as leave the quorum possible."
    )


def _quorum_possible(spec: FLJobSpec) -> bool:
    wanted = spec.quorum.min_trainers
    return isinstance(wanted, str) or wanted <= len(spec.trainers)


class FLJobSpec(ApiModel):
    """Federated training of one recommender model over the data of several sites."""

    TRANSITIONS: ClassVar = (
        *frozen(
            "model",
            "optimizer",
            "dataset",
            "strategy",
            "parameterScopes",
            "tables",
            "initialValues",
            "seed",
            "seeds",
            "precision",
            "dump",
            "quorum",
            "participation",
            "evaluation",
            "security",
            "imports",
            "checkpoint",
            "roundTimeoutSeconds",
        ),
        *frozen_unless_suspended("coordinator", "server", "trainers", "trainerTemplate", "device"),
        Transition(
            cel="self.trainers.map(t, t.name) == oldSelf.trainers.map(t, t.name)",
            message="trainers cannot be added, removed or renamed; delete the FLJob and create it anew",
            field="trainers",
        ),
        Transition(
            cel="self.rounds >= oldSelf.rounds",
            message="rounds may grow, not shrink; use stopCriteria or suspend to end early",
            field="rounds",
        ),
    )
    RULES: ClassVar = (
        Rule(
            cel="type(self.quorum.minTrainers) == string || self.quorum.minTrainers <= size(self.trainers)",
            message="quorum.minTrainers must not exceed the number of trainers",
            holds=_quorum_possible,
            field="quorum.minTrainers",
        ),
        Rule(
            cel="!has(self.participation.count) || self.participation.count <= size(self.trainers)",
            message="participation.count must not exceed the number of trainers",
            holds=lambda s: s.participation.count is None or s.participation.count <= len(s.trainers),
            field="participation.count",
        ),
        Rule(
            cel="!has(self.strategy.bufferSize) || self.strategy.bufferSize <= size(self.trainers)",
            message="strategy.bufferSize must not exceed the number of trainers: a version takes one update of each",
            holds=lambda s: s.strategy.buffer_size is None or s.strategy.buffer_size <= len(s.trainers),
            field="strategy.bufferSize",
        ),
        Rule(
            cel="!has(self.strategy.mode) || self.strategy.mode != 'Buffered' || "
            "!(has(self.participation.percent) || has(self.participation.count))",
            message="in mode Buffered all trainers take part; set strategy.bufferSize in place of percent or count",
            holds=lambda s: (
                s.strategy.mode is not Mode.BUFFERED or (s.participation.percent, s.participation.count) == (None, None)
            ),
            field="participation",
        ),
        Rule(
            cel="!has(self.failurePolicy.maxFailedTrainers) || "
            "self.failurePolicy.maxFailedTrainers < size(self.trainers)",
            message="failurePolicy.maxFailedTrainers must be less than the number of trainers",
            holds=lambda s: (
                s.failure_policy.max_failed_trainers is None or s.failure_policy.max_failed_trainers < len(s.trainers)
            ),
            field="failurePolicy.maxFailedTrainers",
        ),
        Rule(
            cel="has(self.checkpoint) || !self.suspend",
            message="suspend needs a checkpoint to resume from; set spec.checkpoint",
            holds=lambda s: s.checkpoint is not None or not s.suspend,
            field="suspend",
        ),
        Rule(
            cel="!has(self.strategy.name) || !(self.strategy.name in ['FedNova', 'Scaffold']) || "
            "self.optimizer.name == 'SGD'",
            message="FedNova and Scaffold are defined for optimizer.name SGD alone; set it, or take FedAvg or FedProx",
            holds=lambda s: s.strategy.name not in _SGD_ALONE or s.optimizer.name == "SGD",
            field="optimizer.name",
        ),
        Rule(
            cel="!has(self.optimizer.schedule) || !has(self.strategy.mode) || "
            "!(self.strategy.mode in ['StepSync', 'Async'])",
            message="in modes StepSync and Async the server steps, at a rate of its own; remove optimizer.schedule",
            holds=lambda s: s.optimizer.schedule is None or s.strategy.mode not in (Mode.STEP_SYNC, Mode.ASYNC),
            field="optimizer.schedule",
        ),
        Rule(
            cel="!has(self.strategy.name) || self.strategy.name != 'Scaffold' || "
            "!has(self.optimizer.parameters) || !('momentum' in self.optimizer.parameters)",
            message="Scaffold is defined for SGD without momentum; remove optimizer.parameters.momentum",
            holds=lambda s: s.strategy.name is not StrategyName.SCAFFOLD or "momentum" not in s.optimizer.parameters,
            field="optimizer.parameters",
        ),
        Rule(
            cel="!has(self.strategy.name) || self.strategy.name != 'Scaffold' || !has(self.tables) || "
            "!self.tables.exists(t, has(t.keys) && t.keys == 'Any')",
            message="Scaffold keeps control variates of rows that are there from the start; leave keys at Range, or "
            "take another strategy.name",
            holds=lambda s: (
                s.strategy.name is not StrategyName.SCAFFOLD or all(t.keys is not Keys.ANY for t in s.tables)
            ),
            field="tables",
        ),
    )

    suspend: bool = Field(
        False, description="Stop at the next round border and free the pods; set back to false to go on."
    )
    suspend_grace_period_seconds: int = Field(
        30, ge=0, le=3600, description="How long a running round may take to end before it is dropped."
    )
    model: ModelSpec
    optimizer: OptimizerSpec = Field(default_factory=OptimizerSpec)
    dataset: DatasetSpec
    trainers: list[TrainerSpec] = Field(
        min_length=1,
        max_length=128,
        json_schema_extra=_BY_NAME,
        description="The sites, one pod each, told apart by name.",
    )
    strategy: StrategySpec = Field(default_factory=StrategySpec)
    parameter_scopes: list[ParameterScope] = Field(
        default_factory=list,
        max_length=32,
        json_schema_extra=_BY_NAME,
        description="Parameters that differ from the model's own scopes; Private rows never leave their site.",
    )
    tables: list[TableSpec] = Field(
        default_factory=list,
        max_length=32,
        json_schema_extra=_BY_NAME,
        description="Tables whose rows are known by other ids than 0 to n - 1; what is not listed has keys Range.",
    )
    initial_values: list[InitialValues] = Field(
        default_factory=list,
        max_length=8,
        description="Kept models whose values the model begins with. What several give to a parameter is added up, or "
        "put side by side where together they have its shape; all else begins by the seed.",
    )
    seed: int = Field(
        0, ge=0, le=LARGEST_SEED, description="Initial values, cohorts, shuffles and negatives follow from it."
    )
    seeds: Seeds = Field(default_factory=Seeds)
    device: Device = Field(
        "cpu",
        description="Where trainers compute: cpu, cuda or cuda:N, or auto for a GPU where there is one. Where there is "
        "none it is the CPU, and the log says so. In a pod resources.limits must ask for one, too.",
    )
    precision: Precision = Field(
        Precision.FLOAT32,
        description="BFloat16: products of matrices and convolutions in training are made in 16 bits; parameters, "
        "gradients, losses and evaluations stay float32.",
    )
    dump: DumpSpec | None = None
    rounds: int = Field(ge=1, le=100_000, description="Rounds to train; may grow while the job runs.")
    round_timeout_seconds: int = Field(
        3600, ge=1, le=604_800, description="A round still short of its quorum after this ends the job."
    )
    stop_criteria: list[StopCriterion] = Field(
        default_factory=list, max_length=8, description="Training ends when any of them is met."
    )
    participation: Participation = Field(default_factory=Participation)
    quorum: Quorum = Field(default_factory=Quorum)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    security: Security = Field(default_factory=Security)
    imports: list[ModuleName] = Field(
        default_factory=list,
        max_length=8,
        description="Python modules of the user's image to import first; they register models and datasets.",
    )
    coordinator: RoleTemplate = Field(default_factory=RoleTemplate)
    server: ServerTemplate = Field(default_factory=ServerTemplate)
    trainer_template: RoleTemplate = Field(default_factory=RoleTemplate)
    checkpoint: Checkpoint | None = None
    backoff_limit: int = Field(
        6, ge=0, le=100, description="Restarts of one role's pod after a crash; evictions never count."
    )
    failure_policy: FailurePolicy = Field(default_factory=FailurePolicy)
    startup_deadline_seconds: int = Field(
        600, ge=1, le=86_400, description="The quorum must be there within this time of the start."
    )
    active_deadline_seconds: int | None = Field(
        None,
        ge=1,
        le=31_536_000,
        description="The job fails after running this long; suspended time does not count.",
    )
    ttl_seconds_after_finished: int | None = Field(
        None, ge=0, le=31_536_000, description="The FLJob is deleted this long after its end."
    )
    clean_pod_policy: CleanPodPolicy = CleanPodPolicy.RUNNING

    @property
    def data_seed(self) -> int:
        """Return the seed of shuffles, negatives and generated data."""
        return self.seed if self.seeds.data is None else self.seeds.data

    @property
    def initial_seed(self) -> int:
        """Return the seed of initial values."""
        return self.seed if self.seeds.initial_values is None else self.seeds.initial_values

    @property
    def model_seed(self) -> int:
        """Return the seed of what models draw while they train."""
        return self.seed if self.seeds.model is None else self.seeds.model
