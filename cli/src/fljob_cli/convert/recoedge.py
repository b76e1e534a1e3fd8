"""RecoEdge's configurations of DLRM and of softmax regression as FLJobs of the same meaning.

Source: fedrec/modules, fedrec/trainers and user_modules of RecoEdge (later EnvisEdge): FedAvg weighs each trainer by
its samples, tables included. Called by `command`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    lost,
    nothing,
    plain,
    shown,
    to,
    trainers,
)
from fljob_cli.convert.recoedge_keys import COMMON, DLRM, REGRESSION, SECRETS, usual, without_field
from fljob_cli.errors import InputError

_MODELS = {"dlrm": "dlrm", "regression": "softmax"}
_DATASETS = {"dlrm": {"kaggle": "tabular"}, "softmax": {"femnist": "pictures"}}
_LOSSES = {"dlrm": ("bce", "mse", "wbce"), "softmax": ("ce", "mse")}
_INTERACTIONS = {"dot": "Dot", "cat": "Cat"}
_OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "sparse_adam": "Adam", "rwsadagrad": "Adagrad"}
_RATES = {"SGD": "", "Adam": "0.001", "Adagrad": "0.01"}
_TAKEN = {
    "SGD": {"momentum": "momentum", "weight_decay": "weightDecay"},
    "Adam": {"eps": "epsilon", "weight_decay": "weightDecay"},
    "Adagrad": {"eps": "epsilon", "initial_accumulator_value": "initialAccumulator"},
}
_AGGREGATORS = {"fed_avg": "FedAvg"}
_CRITEO_COLUMNS = 26


class _Job:
    """The FLJob that becomes of a source; `section` is that of the trainer."""

    def __init__(self, source: Source, config: Mapping[str, Any]) -> None:
        self.source = source
        self.section = "train" if "train" in config else "trainer"
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
        return made | ({"interactItself": "true"} if itself else {})

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
        parameters = {to_: _text(self.get(f"optimizer.{of}")) for of, to_ in _TAKEN[name].items() if self._set(of)}
        betas = self.get("optimizer.betas")
        if name == "Adam" and betas:
            if len(betas) != 2:
                self.source.refuse(f"{self.section}.optimizer.betas", "must be two numbers")
            parameters |= dict(zip(("beta1", "beta2"), map(_text, betas), strict=False))
        return made | ({"parameters": parameters} if parameters else {})

    def _set(self, key: str) -> bool:
        return f"{self.section}.optimizer.{key}" in self.source

    def strategy(self) -> dict[str, Any]:
        """Return FedAvg as RecoEdge has it, with so many epochs or mini-batches a round."""
        self.source.choose("aggregator.name", _AGGREGATORS, "fed_avg")
        epochs, batches = self.get("config.num_epochs", -1), self.get("config.num_batches", -1)
        if epochs > 0 and batches > 0:
            self.source.refuse(f"{self.section}.config.num_batches", "stands beside num_epochs; leave one of them")
        length = {"innerSteps": batches} if batches > 0 else {"localEpochs": max(1, epochs)}
        batch = self.get("config.batch_size", 128 if self.section == "train" else 32)
        return {"mode": "Sync", **length, "batchSize": batch, "weighting": "Samples", "rowAveraging": "All"}

    def dataset(self) -> str:
        """Return the dataset's name."""
        known = _DATASETS[self.model]
        return self.source.choose("model.preproc.dataset_config.name", known, next(iter(known)))

    def seed(self) -> int:
        """Return the seed of the data, or the first of the others."""
        seeds = (self.source.get(key) for name in ("data", "init", "model") for key in self._seed_keys(name))
        return next((seed for seed in seeds if seed is not None), 0)

    def _seed_keys(self, name: str) -> tuple[str, str]:
        return f"random.{name}_seed", f"{self.section}.config.{name}_seed"


def convert(
    source: str, config: Mapping[str, Any], *, name: str, workers: int | None, servers: int, rounds: int
) -> Converted:
    """Return the FLJob of a parsed configuration; `workers` stands in for its num_trainers.

    Raises InputError that names every key that is not known and every value that cannot be given a meaning.
    """
    section = config.get("model")
    regression = isinstance(section, Mapping) and section.get("name") == "regression"
    keys = Source(config, {**COMMON, **(REGRESSION if regression else DLRM)}, what="RecoEdge's for this model")
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
        "checkpoint": {"volumeClaimTemplate": {"storage": "1Gi"}},
        "server": {"replicas": servers},
        "trainers": trainers(name, min(count, MOST_TRAINERS)),
    }
    if keys.problems:
        raise InputError(source, keys.problems)
    said = tuple(_mapped(key, value, _said(usual(key), value, spec)) for key, value in keys.written.items())
    return Converted(fljob(name, spec), said)


def _mapped(key: str, value: object, said: Said) -> Mapped:
    hidden = key in SECRETS and value
    return Mapped(key, "(not shown)" if hidden else shown(value), said.field, said.note, said.lost)


def _text(value: object) -> str:
    return plain(decimal(value) or Decimal(0))


def _said(key: str, value: Any, spec: Mapping[str, Any]) -> Said:  # noqa: ANN401 - what YAML holds
    """Return what became of a key under its usual name."""
    known = without_field(key, value)
    if known is not None:
        return known
    section, _, last = key.rpartition(".")
    groups: dict[str, Callable[[str, Any, Mapping[str, Any]], Said]] = {
        "trainer.optimizer": _optimizer,
        "trainer.config": _config,
        "model": _model,
        "model.preproc": _data,
        "model.preproc.dataset_config": _data,
    }
    if section in groups:
        return groups[section](last, value, spec)
    if key == "aggregator.name":
        return to("spec.strategy.name: FedAvg", "weighting Samples, and rowAveraging All as plain FedAvg has it")
    if section in {"custom", "base", "model.embedding_types"}:
        return _embedding(section, last, value)
    count = len(spec["trainers"])
    return to(f"spec.trainers: {count}", "" if value == count else "--workers was given")


def _model(key: str, value: Any, spec: Mapping[str, Any]) -> Said:  # noqa: ANN401
    model = spec["model"]
    usual_loss = _LOSSES[model["name"]][0]
    match key:
        case "name":
            return to(f"spec.model.name: {model['name']}")
        case "loss_function":
            return nothing("as here") if value == usual_loss else lost(f"the loss is {usual_loss}")
        case "loss_weights":
            return lost("labels weigh alike")
        case "weighted_pooling":
            known = value in {"fixed", "none"}
            return nothing("weights fixed at 1 change nothing") if known else lost("rows have no weights of their own")
    return _arch(key, value, model["parameters"])


def _arch(key: str, value: object, parameters: Mapping[str, Any]) -> Said:
    path = "spec.model.parameters"
    match key:
        case "arch_mlp_bot":
            note = f"the data says what goes in; a layer to width {parameters['embeddingDim']} with a ReLU follows"
            return to(f"{path}.bottom: {parameters['bottom']}", note)
        case "arch_mlp_top":
            return to(f"{path}.top: {parameters['top']}", "what goes in is computed; one output follows")
        case "arch_interaction_op":
            return to(f"{path}.interaction: {parameters['interaction']}")
        case "arch_interaction_itself":
            return to(f"{path}.interactItself") if value else nothing("as here")
    return to(f"{path}.embeddingDim")


def _embedding(section: str, key: str, value: object) -> Said:
    if section == "custom":
        return lost("columns have plain tables")
    if key == "threshold":
        return nothing("for embedding_types.custom only")
    return nothing("a table for each column, as here") if value == "torch_bag" else lost("columns have plain tables")


def _data(key: str, value: Any, spec: Mapping[str, Any]) -> Said:  # noqa: ANN401
    dataset = spec["dataset"]["name"]
    match key:
        case "name":
            return to(f"spec.dataset.name: {dataset}")
        case "datafile":
            return to(f"fljob data import criteo --source {value}", "data lies where trainers[].data says")
        case "data_dir":
            return nothing("data lies where trainers[].data says; bring LEAF's files there: `fljob data import leaf`")
        case "max_ind_range":
            return to(f"fljob data import criteo --max-index {value}") if value > 0 else nothing("all ids, as here")
        case "sub_sample_rate":
            return to(f"fljob data import criteo --negatives {plain(1 - (decimal(value) or Decimal(0)))}")
    return lost("pixels are taken as the import has them")


def _config(key: str, value: Any, spec: Mapping[str, Any]) -> Said:  # noqa: ANN401
    match key:
        case "batch_size":
            return to("spec.strategy.batchSize")
        case "save_every_n":
            return to("spec.checkpoint", "after every round; fetch the model with `fljob model get`")
        case "num_epochs":
            return to("spec.strategy.localEpochs", "a round is so many passes") if value > 0 else nothing("no limit")
        case "num_batches":
            return to("spec.strategy.innerSteps", "in each round") if value > 0 else nothing("no limit")
    seed = spec["seed"]
    return to("spec.seed") if value == seed else nothing(f"one seed, spec.seed {seed}, is behind all that is drawn")


def _optimizer(key: str, value: object, spec: Mapping[str, Any]) -> Said:
    name = spec["optimizer"]["name"]
    notes = {
        "sparse_adam": "rows that a batch does not touch move too, by their momentum",
        "rwsadagrad": "a sum of squares for each number in place of each row",
    }
    match key:
        case "name":
            return to(f"spec.optimizer.name: {name}", notes.get(str(value), "its state is fresh each round, as there"))
        case "lr":
            return to("spec.optimizer.learningRate")
        case "betas":
            return to("spec.optimizer.parameters.beta1, beta2") if name == "Adam" else nothing(f"not of {name}")
    taken = _TAKEN[name].get(key)
    if taken:
        return to(f"spec.optimizer.parameters.{taken}")
    return nothing("0, as here") if decimal(value) == 0 else lost(f"{name} has none here")
