"""What became of each of RecoEdge's keys, in the FLJob that `recoedge` has made of them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from fljob_cli.convert.mapping import Said, decimal, lost, nothing, plain, to
from fljob_cli.convert.recoedge_keys import without_field

SEEDS = {"data_seed": "data", "init_seed": "initialValues", "model_seed": "model"}
TAKEN = {
    "SGD": {"momentum": "momentum", "weight_decay": "weightDecay"},
    "Adam": {"eps": "epsilon", "weight_decay": "weightDecay"},
    "Adagrad": {"eps": "epsilon", "initial_accumulator_value": "initialAccumulator"},
}


def said_of(key: str, value: Any, spec: Mapping[str, Any]) -> Said:  # noqa: ANN401 - what YAML holds
    """Return what became of a key under its usual name."""
    known = without_field(key, value)
    if known is not None:
        return known
    section, _, last = key.rpartition(".")
    groups: dict[str, Callable[[str, Any, Mapping[str, Any]], Said]] = {
        "trainer.optimizer": _optimizer,
        "trainer.lr_scheduler": _scheduled,
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
        return _embedding(section, last, value, spec["model"]["parameters"])
    count = len(spec["trainers"])
    return to(f"spec.trainers: {count}", "" if value == count else "--workers was given")


def _model(key: str, value: Any, spec: Mapping[str, Any]) -> Said:  # noqa: ANN401
    model = spec["model"]
    if key == "name":
        return to(f"spec.model.name: {model['name']}")
    if model["name"] == "softmax":
        return nothing("as here") if value == "ce" else lost("the loss is ce")
    parameters = model["parameters"]
    if key in {"loss_function", "loss_weights", "loss_threshold"}:
        return _losses(key, value, parameters)
    if key == "weighted_pooling":
        note = "columns of one id a row, as Criteo's, have no weights"
        learned = Said("spec.model.parameters.pooling: Learned", note, lost=True)
        return learned if "pooling" in parameters else nothing("weights fixed at 1 change nothing")
    return _arch(key, value, parameters)


def _losses(key: str, value: object, parameters: Mapping[str, Any]) -> Said:
    path = "spec.model.parameters"
    if key == "loss_threshold":
        limit = parameters.get("probabilityLimit")
        return to(f"{path}.probabilityLimit", "of probabilities") if limit else nothing("0 is off, as here")
    if key == "loss_weights":
        if "positiveWeight" not in parameters:
            return nothing("for loss_function wbce only")
        note = "a row without a click weighs 1: multiply learningRate by its weight"
        weighs = weights_of(str(value))[0] != 1
        field = f"{path}.positiveWeight: {parameters['positiveWeight']}"
        return Said(field, note if weighs else "", lost=weighs)
    if value == "mse":
        return to(f"{path}.squaredError")
    return to(f"{path}.positiveWeight") if value == "wbce" else nothing("as here")


def weights_of(text: str) -> tuple[Decimal, Decimal]:
    """Return the weights of rows without a click and with one; of `2`, 1 and 2."""
    *first, last = (decimal(part) or Decimal(1) for part in text.split("-"))
    return (first[0] if first else Decimal(1)), last


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


def _embedding(section: str, key: str, value: object, parameters: Mapping[str, Any]) -> Said:
    path, kind = "spec.model.parameters", parameters.get("embeddings", "Plain")
    if key == "name":
        if kind == "Plain" or section == "base":
            return nothing("a table for each column, as here") if value == "torch_bag" else lost("tables are plain")
        note = "widths fall with rows, by temperature" if kind == "MixedDimension" else ""
        return Said(f"{path}.embeddings: {kind}", note, lost=bool(note))
    if key == "threshold":
        return to(f"{path}.threshold") if kind != "Plain" else nothing("for embedding_types.custom only")
    if kind != "QuotientRemainder":
        return (
            lost("widths fall with rows, by temperature") if kind != "Plain" else nothing("for qr_emb and pr_emb only")
        )
    if key == "operation":
        concat = value == "concat"
        note = "each part has half of the width, there the whole" if concat else ""
        return Said(f"{path}.operation: {parameters['operation']}", note, lost=concat)
    return to(f"{path}.collisions") if key.endswith("collisions") else nothing("for pr_emb only")


def _data(key: str, value: Any, spec: Mapping[str, Any]) -> Said:  # noqa: ANN401
    dataset = spec["dataset"]["name"]
    if dataset == "pictures":
        return _pictures(key, value)
    match key:
        case "name":
            return to(f"spec.dataset.name: {dataset}")
        case "datafile":
            return to(f"fljob data import criteo --source {value}", "data lies where trainers[].data says")
        case "max_ind_range":
            return to(f"fljob data import criteo --max-index {value}") if value > 0 else nothing("all ids, as here")
    return to(f"fljob data import criteo --negatives {plain(1 - (decimal(value) or Decimal(0)))}")


def _pictures(key: str, value: object) -> Said:
    brought = "data lies where trainers[].data says; bring LEAF's files there: `fljob data import leaf`"
    match key:
        case "name":
            criteo = value == "kaggle"
            return Said("spec.dataset.name: pictures", "rows of Criteo have no classes" if criteo else "", lost=criteo)
        case "datafile":
            return lost(brought)
        case "data_dir":
            return nothing(brought)
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
    field = SEEDS[key]
    own = spec.get("seeds", {}).get(field)
    if value == (spec["seed"] if own is None else own):
        return to("spec.seed" if own is None else f"spec.seeds.{field}")
    return nothing("another key's is taken")


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
    taken = TAKEN[name].get(key)
    if taken:
        return to(f"spec.optimizer.parameters.{taken}")
    return nothing("0, as here") if decimal(value) == 0 else lost(f"{name} has none here")


def _scheduled(key: str, value: object, spec: Mapping[str, Any]) -> Said:
    schedule = spec["optimizer"].get("schedule")
    if value == "noop":
        return nothing("the learning rate is the same in each round, as here")
    if key == "step" or value == "plateau":
        return lost("no schedule here follows a metric: set spec.optimizer.schedule")
    if schedule is None:
        return lost("counted in mini-batches there, in rounds here: set spec.optimizer.schedule")
    name = {"name": "name", "num_warmup_steps": "warmUpRounds", "num_decay_steps": "decayRounds"}.get(
        key, "decayStartRound"
    )
    note = "in rounds of num_batches" if key != "name" else ""
    return to(f"spec.optimizer.schedule.{name}: {schedule[name]}", note) if name in schedule else nothing("0 is none")
