"""RecoEdge's configurations of DLRM and of softmax regression as FLJobs of the same meaning.

Source: fedrec/modules, fedrec/trainers and user_modules of RecoEdge (later EnvisEdge): FedAvg weighs each trainer by
its samples, tables included. Called by `command`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from fljob_cli.convert.mapping import (
    MOST_TRAINERS,
    Converted,
    Mapped,
    Said,
    Source,
    decimal,
    fljob,
    plain,
    shown,
    trainers,
)
from fljob_cli.convert.recoedge_keys import COMMON, DLRM, FIRST, REGRESSION, SECRETS, usual
from fljob_cli.convert.recoedge_said import SEEDS, TAKEN, said_of, weights_of
from fljob_cli.errors import InputError

_MODELS = {"dlrm": "dlrm", "regression": "softmax"}
_DATASETS = {"dlrm": {"kaggle": "tabular"}, "softmax": {"femnist": "pictures", "kaggle": "pictures"}}
_LOSSES = {"dlrm": ("bce", "mse", "wbce"), "softmax": ("ce", "mse")}
_INTERACTIONS = {"dot": "Dot", "cat": "Cat"}
_TABLES = {"torch_bag": "", "qr_emb": "QuotientRemainder", "pr_emb": "MixedDimension"}
_OPERATIONS = {"mult": "Mult", "add": "Add", "concat": "Concat"}
_POOLINGS = {"fixed": "", "learned": "Learned"}
_SCHEDULES = {"dlrm": "QuadraticDecay", "regression": "QuadraticDecay", "noop": "", "plateau": ""}
_STEPS = ("num_warmup_steps", "decay_start_step", "num_decay_steps")
_MOST_ROUNDS = 10_000  # of a schedule
_OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "sparse_adam": "Adam", "rwsadagrad": "Adagrad"}
_RATES = {"SGD": "", "Adam": "0.001", "Adagrad": "0.01"}
_AGGREGATORS = {"fed_avg": "FedAvg"}
_CRITEO_COLUMNS = 26


class _Job:
    """The FLJob that becomes of a source. section: the trainer's; config: where its batches and seeds are."""

    def __init__(self, source: Source, config: Mapping[str, Any]) -> None:
        self.source = source
        self.section = "train" if "train" in config else "trainer"
        self.config = self.section if _is_first(config) else f"{self.section}.config"
        if "train" in config and "trainer" in config:
            source.refuse("train", "stands beside trainer, of which it is the older name; leave one")
        self.model = source.choose("model.name", _MODELS, "dlrm")
        if "model.name" not in source:
            source.refuse("model.name", "is required: dlrm or regression")

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - what YAML holds
        """Return a value of the trainer's section."""
        return self.source.get(f"{self.section}.{key}", default)

    def parameters(self) -> dict[str, str | int]:
        """Return the model's parameters."""
        losses = _LOSSES[self.model]
        self.source.choose("model.loss_function", dict.fromkeys(losses, ""), losses[0])
        if self.model != "dlrm":
            return {}
        dim = self._dim()
        op = self.source.choose("model.arch_interaction_op", _INTERACTIONS, "dot")
        itself = self.source.get("model.arch_interaction_itself", False)
        made: dict[str, str | int] = {"embeddingDim": dim, "interaction": op}
        for name, widths in (("bottom", self._bottom(dim)), ("top", self._top(dim, op, itself=itself))):
            if widths:
                made[name] = ",".join(map(str, widths))
        return made | ({"interactItself": "true"} if itself else {}) | self._loss() | self._tables()

    def _loss(self) -> dict[str, str | int]:
        loss, weights = self.source.get("model.loss_function", "bce"), str(self.source.get("model.loss_weights", ""))
        made: dict[str, str | int] = {"squaredError": "true"} if loss == "mse" else {}
        if weights and (loss == "wbce" or (loss == "bce" and "-" not in weights)):
            of_none, of_click = weights_of(weights)
            made["positiveWeight"] = plain(of_click / of_none)
        elif loss == "wbce":
            self.source.refuse("model.loss_weights", "is required by wbce")
        limit = decimal(self.source.get("model.loss_threshold", 0)) or Decimal(0)
        return made | ({"probabilityLimit": plain(limit)} if limit else {})

    def _tables(self) -> dict[str, str | int]:
        custom = "model.embedding_types.custom"
        pooling = self.source.choose("model.weighted_pooling", _POOLINGS, "fixed")
        made: dict[str, str | int] = {"pooling": pooling} if pooling else {}
        kind = self.source.choose(f"{custom}.name", _TABLES, "torch_bag")
        if not kind:
            return made
        threshold = self.source.get("model.embedding_types.threshold")
        if threshold is None:
            self.source.refuse("model.embedding_types.threshold", "is required by custom")
        made |= {"embeddings": kind, "threshold": threshold or 0}
        if kind == "QuotientRemainder":
            known = [self.source.get(f"{custom}.{name}") for name in ("num_collisions", "qr_collisions")]
            collisions = known[0] or known[1]
            if collisions is None:
                self.source.refuse(f"{custom}.num_collisions", "is required by qr_emb")
            operation = self.source.choose(f"{custom}.operation", _OPERATIONS, "mult")
            made |= {"collisions": collisions or 1, "operation": operation}
        return made

    def _dim(self) -> int:
        names = [n for n in ("arch_feature_emb_size", "arch_sparse_feature_size") if f"model.{n}" in self.source]
        widths = {self.source.get(f"model.{name}") for name in names}
        if len(widths) != 1:
            why = "is required" if not widths else "differs from arch_feature_emb_size, which is the same"
            self.source.refuse("model.arch_sparse_feature_size", why)
            return 16
        return int(widths.pop())

    def _bottom(self, dim: int) -> list[int]:
        """Return the hidden layers over the numbers: without what goes in, and the layer to the embeddings' width."""
        key = "model.arch_mlp_bot"
        widths = list(self.source.get(key, ()))[1:]
        if widths and widths[-1] == dim and "model.arch_sparse_feature_size" in self.source:
            widths.pop()  # the later form adds this layer itself, as here
        return self._hidden(key, widths)

    def _top(self, dim: int, op: str, *, itself: bool) -> list[int]:
        """Return the hidden layers over the interactions: without the one output, and what goes in where it is told."""
        key = "model.arch_mlp_top"
        widths = list(self.source.get(key, ()))
        vectors = _CRITEO_COLUMNS + 1
        pairs = vectors * (vectors + (1 if itself else -1)) // 2
        if widths and widths[-1] != 1:
            self.source.refuse(key, "must end with 1, the one output")
        if widths and widths[0] == (pairs + dim if op == "Dot" else vectors * dim):
            widths = widths[1:]
        return self._hidden(key, widths[:-1])

    def _hidden(self, key: str, widths: list[int]) -> list[int]:
        if not widths:
            self.source.refuse(key, "must name the widths of a tower with at least one hidden layer")
        return widths

    def optimizer(self) -> dict[str, Any]:
        """Return the trainers' optimizer."""
        name = self.source.choose(f"{self.section}.optimizer.name", _OPTIMIZERS, "sgd")
        rate = self.get("optimizer.lr", _RATES[name])
        if rate == "":
            self.source.refuse(f"{self.section}.optimizer.lr", "is required by sgd")
        made: dict[str, Any] = {"name": name, "learningRate": _text(rate or "1")}
        parameters = {to_: _text(self.get(f"optimizer.{of}")) for of, to_ in TAKEN[name].items() if self._set(of)}
        betas = self.get("optimizer.betas")
        if name == "Adam" and betas:
            if len(betas) != 2:
                self.source.refuse(f"{self.section}.optimizer.betas", "must be two numbers")
            parameters |= dict(zip(("beta1", "beta2"), map(_text, betas), strict=False))
        schedule = self._schedule()
        return made | ({"parameters": parameters} if parameters else {}) | ({"schedule": schedule} if schedule else {})

    def _schedule(self) -> dict[str, Any]:
        """Return the schedule over rounds, which is told where a round has so many mini-batches."""
        name = self.source.choose(f"{self.section}.lr_scheduler.name", _SCHEDULES, "noop")
        steps = [self.get(f"lr_scheduler.{key}") for key in _STEPS]
        for key, value in zip(_STEPS, steps, strict=True):
            if name and value is None:
                self.source.refuse(f"{self.section}.lr_scheduler.{key}", "is required by the schedule")
        a_round = self.source.get(f"{self.config}.num_batches", -1)
        if not name or a_round < 1 or None in steps:
            return {}
        warm_up, start, decay = (-(-count // a_round) for count in steps)
        if decay == 1 or max(warm_up, start, decay) > _MOST_ROUNDS:  # no schedule over rounds falls within one
            return {}
        made: dict[str, Any] = {"warmUpRounds": warm_up} if warm_up else {}
        if decay:
            return {"name": name} | made | {"decayStartRound": max(start, warm_up + 1), "decayRounds": decay}
        return {"name": "WarmUp"} | made if made else {}

    def _set(self, key: str) -> bool:
        return f"{self.section}.optimizer.{key}" in self.source

    def strategy(self) -> dict[str, Any]:
        """Return FedAvg as RecoEdge has it, with so many epochs or mini-batches a round."""
        self.source.choose("aggregator.name", _AGGREGATORS, "fed_avg")
        epochs, batches = (self.source.get(f"{self.config}.{key}", -1) for key in ("num_epochs", "num_batches"))
        if epochs > 0 and batches > 0:
            self.source.refuse(f"{self.config}.num_batches", "stands beside num_epochs; leave one of them")
        length = {"innerSteps": batches} if batches > 0 else {"localEpochs": max(1, epochs)}
        batch = self.source.get(f"{self.config}.batch_size", 128 if self.section == "train" else 32)
        return {"mode": "Sync", **length, "batchSize": batch, "weighting": "Samples", "rowAveraging": "All"}

    def dataset(self) -> str:
        """Return the dataset's name."""
        known = _DATASETS[self.model]
        return self.source.choose("model.preproc.dataset_config.name", known, next(iter(known)))

    def seed(self) -> int:
        """Return the seed of the data, or the first of the others."""
        seeds = (self._given(key) for key in SEEDS)
        return next((seed for seed in seeds if seed is not None), 0)

    def own_seeds(self) -> dict[str, int]:
        """Return spec.seeds: those that are not the seed of the data."""
        given = {field: self._given(key) for key, field in SEEDS.items()}
        return {field: seed for field, seed in given.items() if seed is not None and seed != self.seed()}

    def _given(self, name: str) -> int | None:
        found = (self.source.get(f"{section}.{name}") for section in ("random", self.config))
        return next((seed for seed in found if seed is not None), None)


def convert(
    source: str, config: Mapping[str, Any], *, name: str, workers: int | None, servers: int, rounds: int
) -> Converted:
    """Return the FLJob of a parsed configuration; `workers` stands in for its num_trainers.

    Raises InputError that names every key that is not known and every value that cannot be given a meaning.
    """
    section = config.get("model")
    regression = isinstance(section, Mapping) and section.get("name") == "regression"
    known = COMMON | (FIRST if _is_first(config) else {}) | (REGRESSION if regression else DLRM)
    keys = Source(config, known, what="RecoEdge's for this model")
    job = _Job(keys, config)
    count = workers or keys.get("multiprocessing.num_trainers", 1)
    if count > MOST_TRAINERS:
        keys.refuse("multiprocessing.num_trainers", f"at most {MOST_TRAINERS} trainers; give --workers")
    model: dict[str, Any] = {"name": job.model}
    parameters = job.parameters()
    spec = {
        "model": model | ({"parameters": parameters} if parameters else {}),
        "optimizer": job.optimizer(),
        "rounds": rounds,
        "dataset": {"name": job.dataset()},
        "strategy": job.strategy(),
        "seed": job.seed(),
        **({"seeds": own} if (own := job.own_seeds()) else {}),
        "checkpoint": {"volumeClaimTemplate": {"storage": "1Gi"}},
        "server": {"replicas": servers},
        "trainers": trainers(name, min(count, MOST_TRAINERS)),
    }
    if keys.problems:
        raise InputError(source, keys.problems)
    said = tuple(_mapped(key, value, said_of(usual(key), value, spec)) for key, value in keys.written.items())
    return Converted(fljob(name, spec), said)


def _is_first(config: Mapping[str, Any]) -> bool:
    """Return whether `train` has no section `config`."""
    section = config.get("train")
    return isinstance(section, Mapping) and "config" not in section


def _mapped(key: str, value: object, said: Said) -> Mapped:
    hidden = key in SECRETS and value
    return Mapped(key, "(not shown)" if hidden else shown(value), said.field, said.note, said.lost)


def _text(value: object) -> str:
    return plain(decimal(value) or Decimal(0))
