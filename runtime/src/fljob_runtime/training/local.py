"""LocalTrainer: one client's model, trained on its data for a round, and evaluated.

Used by the trainer role (federated) and by pooled training (the reference), without change. Which examples a round
uses is a function of (seed, client, round number), so a restarted trainer repeats a round bit for bit.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fljob_api.optimizer import Schedule
from fljob_api.spec import FLJobSpec
from fljob_runtime.algorithms.algorithm import Algorithm, FedAvg, LocalRound, LocalStart
from fljob_runtime.algorithms.modes import algorithm
from fljob_runtime.data.examples import Examples, HeldOut, SiteData, epoch_rng
from fljob_runtime.metrics.sums import MetricsError, MetricSums
from fljob_runtime.models.base import CODE_FAULTS, Batch, RecommenderModel, failed
from fljob_runtime.parameters import (
    BESIDE,
    Float32Array,
    Float64Array,
    Int64Array,
    Kind,
    ModelLayout,
    ModelState,
    RowSet,
    Scope,
)
from fljob_runtime.registry import NoParameters
from fljob_runtime.schema import PADDING
from fljob_runtime.training.compute import Compute
from fljob_runtime.training.few_rows import few_rows
from fljob_runtime.training.measures import first_ranks, joined, measure_of
from fljob_runtime.training.optimizers import OptimizerFactory, make_optimizer
from fljob_runtime.training.record import DivergedError, TrainProgress, TrainRecord, silent
from fljob_runtime.training.schedules import factor
from fljob_runtime.training.vocabulary import KeyedTables

_CUT_AT_A_TIME = 64  # batches: half the time of a slice for each column and batch
_DRAWS = 1  # beside the epochs' shuffles, whose seeds have no fourth number
Correction = Callable[[Batch], None]  # changes the gradients of a mini-batch


@dataclass(frozen=True)
class TrainPlan:
    """How a client trains. Exactly one of local_epochs and inner_steps is positive.

    seed: of the order of examples, and unless they have their own, of first values of rows and what the model draws.
    """

    client: str
    seed: int
    optimizer: OptimizerFactory
    learning_rate: float
    batch_size: int
    local_epochs: int = 1
    inner_steps: int = 0
    algorithm: Algorithm = FedAvg(NoParameters())  # noqa: RUF009 - without state
    schedule: Schedule | None = None
    compute: Compute = field(default_factory=Compute)
    initial_seed: int | None = None
    model_seed: int | None = None

    @classmethod
    def of(cls, spec: FLJobSpec, client: str) -> TrainPlan:
        """Read the plan from a job's spec; raises RegistryError or ComputeError."""
        strategy = spec.strategy
        steps = strategy.inner_steps or 0
        return cls(
            client=client,
            seed=spec.data_seed,
            initial_seed=spec.initial_seed,
            model_seed=spec.model_seed,
            optimizer=make_optimizer(spec.optimizer.name, spec.optimizer.parameters),
            learning_rate=float(spec.optimizer.learning_rate),
            batch_size=strategy.batch_size,
            local_epochs=0 if steps else strategy.local_epochs or 1,
            inner_steps=steps,
            algorithm=algorithm(strategy),
            schedule=spec.optimizer.schedule,
            compute=Compute.of(spec, client),
        )

    @property
    def seeds(self) -> tuple[int, int, int]:
        """Return the seeds of examples, of first values of rows, and of what the model draws."""
        initial = self.seed if self.initial_seed is None else self.initial_seed
        return self.seed, initial, self.seed if self.model_seed is None else self.model_seed

    def rate(self, train_round: int) -> float:
        """Return the learning rate of a round."""
        return self.learning_rate * factor(self.schedule, train_round)


@dataclass(frozen=True)
class LocalUpdate:
    """Result of a round: values of all dense parameters and of the rows touched, of every scope.

    metrics: over a sample of the training predictions (`Measure.sampled` at most), made as they were trained on.
    """

    state: ModelState
    num_samples: int
    metrics: MetricSums


@dataclass(frozen=True)
class Evaluation:
    """Sums that merge with other clients', and this client's own exact AUC."""

    sums: MetricSums
    auc: float


class LocalTrainer:
    """One client's model and data. Not thread-safe: one round or evaluation at a time.

    layout: the model's parameters, and what the plan's algorithm keeps beside them, which is zero at first. What comes
    and goes has the ids of the data; inside, rows of keyed tables are at places (`vocabulary`).
    """

    def __init__(self, model: RecommenderModel, layout: ModelLayout, data: SiteData, plan: TrainPlan) -> None:
        self.model, self.layout, self.data, self.plan = model, layout, data, plan
        self.measure = measure_of(model.task)
        self._parameters = dict(model.named_parameters())
        beside = {s.name: torch.zeros(s.shape) for s in layout.specs if s.name not in self._parameters}
        self._tensors: dict[str, Tensor] = {**self._parameters, **beside}
        columns = model.tables()
        self._tables = {s.name: columns[_of(s.name)] for s in layout.specs if s.kind is not Kind.DENSE}
        self.keyed = KeyedTables(model, layout, plan.seeds[1])
        self._held_out: HeldOut | None = None
        self._prepared = False
        self._round_cache: tuple[int, Examples] | None = None
        self.steps_per_epoch = math.ceil(data.num_samples / plan.batch_size)

    @property
    def samples_per_round(self) -> int:
        """Samples of one round, about (the last batch of an epoch may be smaller)."""
        if self.plan.inner_steps:
            return min(self.plan.inner_steps * self.plan.batch_size, self.data.num_samples * self.plan.inner_steps)
        return self.plan.local_epochs * self.data.num_samples

    def initial_state(self) -> ModelState:
        """Return the model's present values, every row with weight 1: the update of round 0; of keyed tables no row."""
        rows = {}
        for spec in self.layout.specs:
            if spec.kind is Kind.ROWS:
                ids = np.arange(spec.shape[0], dtype=np.int64)
                rows[spec.name] = RowSet(ids, self._values(spec.name).copy(), np.ones(len(ids)))
        return ModelState(self._dense(), rows)

    def needed_rows(self, train_round: int = 0, *, evaluation: bool = False) -> dict[str, Int64Array]:
        """Return the ids, sorted and unique, of each table's rows that a round, the evaluation, or both will read."""
        trained = [self.round_examples(train_round)] if train_round else []
        evaluated = [self._held().examples] if evaluation else []
        needed = {}
        for name in self._tables:
            counts = self._counts(name, [*trained, *(evaluated if name in self._parameters else [])])
            needed[name] = self.keyed.ids(name, np.flatnonzero(counts))
        return needed

    def load(self, state: ModelState) -> None:
        """Put values into the model; rows that are not in `state` stay as they are."""
        with torch.no_grad():
            for name, value in state.dense.items():
                self._tensors[name].copy_(_tensor(value))
            for name, rows in state.rows.items():
                places = self.keyed.places(name, rows.ids)
                self._tensors[name][_tensor(places)] = _tensor(rows.values)

    def values(self, rows: dict[str, Int64Array]) -> ModelState:
        """Return copies of all dense values and of the rows asked for."""
        places = {name: self.keyed.places(name, ids) for name, ids in rows.items()}
        chosen = {name: RowSet(ids, self._values(name)[places[name]]) for name, ids in rows.items()}
        return ModelState(self._dense(), chosen)

    def prepare(self) -> None:
        """Show the model all training examples, once; those of the first epoch, whichever is trained next."""
        if not self._prepared and type(self.model).prepare is not RecommenderModel.prepare:
            first = self.data.epoch(epoch_rng(self.plan.seed, self.plan.client, 0))
            self.model.prepare(self.keyed.mapped(first).columns)
        self._prepared = True

    def train(self, train_round: int, on_progress: Callable[[TrainProgress], None] = silent) -> LocalUpdate:
        """Train one round from the loaded values with a fresh optimizer; `train_round` counts from 1.

        Raises DivergedError as soon as the loss is seen not to be finite, or when a trained value is not.
        """
        examples = self.round_examples(train_round)
        rate = self.plan.rate(train_round)
        touched, weights = {}, {}
        for name in self._tables:
            counts = self._counts(name, [examples])
            touched[name] = np.flatnonzero(counts)
            weights[name] = counts[touched[name]].astype(np.float64)
        rule = self.plan.algorithm.begin(self._start(touched, rate))
        record = self.record(train_round, len(examples), on_progress)
        with few_rows(self.model, {} if rule else touched):  # a rule corrects whole gradients
            optimizer = self.plan.optimizer.make(self.model.parameters(), rate)
            metrics = self.fit(examples, optimizer, record, self._correction(rule) if rule else None)
        if rule is not None:
            rule.end(math.ceil(len(examples) / self.plan.batch_size))
        self._round_cache = None
        rows = {name: self.row_set(name, places, weights[name]) for name, places in touched.items()}
        state = ModelState(self._dense(), rows)
        self._check_finite(state)
        return LocalUpdate(state, len(examples), metrics)

    def record(
        self, number: int, num_samples: int, on_progress: Callable[[TrainProgress], None] = silent
    ) -> TrainRecord:
        """Return a new record of a round, or of an epoch in one place; `number` counts from 1."""
        entropy = (self.plan.seeds[2], zlib.crc32(self.plan.client.encode()), number, _DRAWS)
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        return TrainRecord(self.plan.client, self.measure, num_samples, on_progress, seed=seed)

    def fit(
        self,
        examples: Examples,
        optimizer: torch.optim.Optimizer,
        record: TrainRecord,
        correct: Correction | None = None,
    ) -> MetricSums:
        """Run the optimizer over the examples once, in their order and in batches; `correct` comes before each step.

        The examples are `keyed.mapped`.
        """
        self.model.train()
        self.prepare()
        with self.plan.compute.placed(self.model, optimizer):
            for batch, labels in self.batches(examples, self.plan.batch_size):
                self.backward(batch, labels, record)
                if correct is not None:
                    correct(batch)
                optimizer.step()
            return record.sums()

    def row_set(self, name: str, places: Int64Array, weights: Float64Array) -> RowSet:
        """Return rows of a table as they are, by their ids. places: ascending."""
        return self.keyed.row_set(name, places, self._values(name)[places], weights)

    def _start(self, rows: dict[str, Int64Array], rate: float) -> LocalStart:
        """Return what the algorithm sees of a round that begins, which trains these rows."""
        shared = [s.name for s in self.layout.model.specs if s.scope is Scope.SHARED]
        values = {name: self._values(name) for name in self._tensors}
        return LocalStart(values, {name: rows.get(name, ...) for name in shared}, rate)

    def _correction(self, rule: LocalRound) -> Correction:
        """Return what lets the rule change the gradients of each shared parameter."""
        shared = [(s.name, self._parameters[s.name]) for s in self.layout.model.specs if s.scope is Scope.SHARED]

        def correct(batch: Batch) -> None:
            for name, parameter in shared:
                if parameter.grad is not None:
                    rows = _ids(batch[self._tables[name]]) if name in self._tables else ...
                    rule.correct(name, parameter.grad.numpy(), rows)

        return correct

    def backward(self, batch: Batch, labels: Tensor, record: TrainRecord) -> Tensor:
        """Leave the gradients of one batch's mean loss in the parameters; return it. Columns [B, ...], labels [B]."""
        self.plan.compute.seed(record.batch_seed)
        try:
            loss, outputs, targets = self.plan.compute.loss(self.model, batch, labels)
            for parameter in self._parameters.values():
                parameter.grad = None
            loss.backward()  # type: ignore[no-untyped-call]
        except CODE_FAULTS as error:
            raise self._failed(error, batch) from error
        loss = loss.detach()
        record.add(outputs.detach(), targets, loss, len(labels))
        return loss

    def check_precision(self) -> None:
        """Raise ComputeError for a model that the plan's precision is not for; two held-out examples are tried."""
        with self.plan.compute.placed(self.model):
            for batch, labels in self.batches(self._held().examples, 2, 0, 2):
                self.plan.compute.check(self.model, batch, labels)

    def evaluate(self) -> Evaluation:
        """Evaluate the loaded values on the held-out examples. Raises DivergedError when a score is not finite."""
        held_out, known = self._held(), self.known()
        try:
            sums = self.measure.sums(known)
        except MetricsError as error:
            raise DivergedError(f"client {self.plan.client}: {error}") from error
        if held_out.groups is not None:
            sums = sums.with_ranks(first_ranks(known[:, 0], held_out.groups))
        return Evaluation(sums, self.measure.auc(known))

    def known(self) -> Float32Array:
        """Return what the measure keeps of the predictions of the held-out examples, in their order: [E, 2]."""
        return self._known(self._held().examples)

    def batches(
        self, examples: Examples, size: int, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Yield columns [B, ...] and labels [B] of one batch after the other, on the plan's device."""
        device = self.plan.compute.device
        names = tuple(examples.columns)
        columns = [_tensor(values).to(device) for values in (*examples.columns.values(), examples.labels)]
        last = len(examples) if stop is None else min(stop, len(examples))
        end = start + math.ceil((last - start) / size) * size
        for at in range(start, last, _CUT_AT_A_TIME * size):
            part = slice(at, min(at + _CUT_AT_A_TIME * size, end))
            pieces = (torch.split(values[part], size) for values in columns)
            for *batch, labels in zip(*pieces, strict=True):
                yield dict(zip(names, batch, strict=True)), labels

    def _held(self) -> HeldOut:
        """Return the held-out examples, mapped once."""
        if self._held_out is None:
            held_out = self.data.held_out()
            self._held_out = HeldOut(self.keyed.mapped(held_out.examples), held_out.groups)
        return self._held_out

    def _known(self, examples: Examples) -> Float32Array:
        """Return what is kept of the predictions: [E, 2]."""
        self.model.eval()
        parts = [(torch.empty(0), torch.empty(0))]
        with self.plan.compute.placed(self.model), torch.inference_mode():
            for batch, labels in self.batches(examples, self.model.evaluation_batch):
                outputs, targets = self._predicted(batch, labels)
                parts.append(self.measure.known(outputs, targets, trained=False))
        return joined(parts)

    def _predicted(self, batch: Batch, labels: Tensor) -> tuple[Tensor, Tensor]:
        try:
            return self.model.predict(batch, labels)
        except CODE_FAULTS as error:
            raise self._failed(error, batch) from error

    def _failed(self, error: Exception, batch: Batch) -> Exception:
        """Return what is raised in place of an error of the model's code; memory that is out may be there again."""
        return error if isinstance(error, torch.OutOfMemoryError) else failed(type(self.model).__name__, error, batch)

    def outputs(self, most: int) -> Float32Array:
        """Return what the model says, with the loaded values, of the first held-out examples: [E, ...]."""
        self.model.eval()
        examples = self._held().examples.take(slice(most))
        with self.plan.compute.placed(self.model), torch.inference_mode():
            held_out = self.batches(examples, self.model.evaluation_batch)
            parts = [self._predicted(batch, labels)[0].cpu() for batch, labels in held_out]
        said: Float32Array = torch.cat(parts).numpy()
        return said

    def round_examples(self, train_round: int) -> Examples:
        """Return the examples of a round, mapped; kept until trained, since `needed_rows` asks for them first."""
        if self._round_cache is None or self._round_cache[0] != train_round:
            examples = Examples.joined(list(self._round_parts(train_round)))
            self._round_cache = (train_round, self.keyed.mapped(examples))
        return self._round_cache[1]

    def _round_parts(self, train_round: int) -> Iterator[Examples]:
        plan = self.plan
        if not plan.inner_steps:
            for epoch in range((train_round - 1) * plan.local_epochs, train_round * plan.local_epochs):
                yield self.data.epoch(epoch_rng(plan.seed, plan.client, epoch))
            return
        step, last = (train_round - 1) * plan.inner_steps, train_round * plan.inner_steps
        while step < last:
            epoch, offset = divmod(step, self.steps_per_epoch)
            count = min(last - step, self.steps_per_epoch - offset)
            examples = self.data.epoch(epoch_rng(plan.seed, plan.client, epoch))
            yield examples.take(slice(offset * plan.batch_size, (offset + count) * plan.batch_size))
            step += count

    def _check_finite(self, state: ModelState) -> None:
        """Look at the trained values: the last step may have broken what no loss has shown yet."""
        values = {**state.dense, **{name: rows.values for name, rows in state.rows.items()}}
        broken = [name for name, value in values.items() if not np.isfinite(value).all()]
        if broken:
            raise DivergedError(
                f"client {self.plan.client}: {', '.join(broken)} not finite; lower spec.optimizer.learningRate"
            )

    def _counts(self, name: str, parts: list[Examples]) -> Int64Array:
        """Return how often the parts use each place of a table: int64 [places]."""
        column, num_rows = self._tables[name], len(self._tensors[name])
        counts = np.zeros(num_rows, np.int64)
        for part in parts:
            counts += np.bincount(part.ids(column), minlength=num_rows)
        return counts

    def _values(self, name: str) -> Float32Array:
        values: Float32Array = self._tensors[name].detach().numpy()
        return values

    def _dense(self) -> dict[str, Float32Array]:
        return {s.name: self._values(s.name).copy() for s in self.layout.specs if s.kind is Kind.DENSE}


def _of(name: str) -> str:
    """Return the parameter beside which this one is kept, itself if none."""
    return name.partition(BESIDE)[0]


def _ids(column: Tensor) -> Int64Array:
    ids: Int64Array = column.numpy()
    return ids if ids.ndim == 1 else ids[ids != PADDING]


def _tensor(array: np.ndarray) -> Tensor:
    if not array.flags.writeable:
        array = array.copy()  # torch warns of memory it may not write to
    return torch.from_numpy(array)
