"""The keys of RecoEdge's configurations (dlrm.yml, dlrm_fl.yml, regression.yml), and what becomes of those that no
field needs. Used by `recoedge`. Three forms are known: with `train`, without and with `config` in it, and the later one
with `trainer`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fljob_cli.convert.mapping import (
    COUNT,
    COUNTS,
    FLAG,
    LEAST_0,
    LIMIT,
    NUMBERS,
    PLACE,
    RATE,
    SHARE,
    SHARES,
    TEXT,
    TEXTS,
    WHOLE,
    WIDTHS,
    Kind,
    Said,
    decimal,
    lost,
    nothing,
)

# Sections of the same meaning that have several names, and the one that is used below.
_ALIASES = {
    "train": "trainer",
    "multiprocessing.communication_interface": "wire",
    "multiprocessing.communications_interfaces": "wire",
    "multiprocessing.communications": "wire",
    "multiprocessing.comm_manager_config": "wire",
    "multiprocessing.gpu_map": "gpu_map",
    "communications.gpu_map": "gpu_map",
    "random": "trainer.config",
    "model.embedding_types.base": "base",
    "model.embedding_types.custom": "custom",
}
SECRETS = ("s3.aws_access_key", "s3.aws_secret_access_key")

_EMBEDDING: dict[str, Kind] = {
    "name": TEXT,
    "mode": TEXT,
    "sparse": FLAG,
    "init": FLAG,
    "max_norm": RATE,
    "norm_type": RATE,
    "scale_grad_by_freq": FLAG,
    "include_last_offset": FLAG,
}
_CUSTOM: dict[str, Kind] = {
    **_EMBEDDING,
    "num_collisions": COUNT,
    "qr_collisions": COUNT,
    "operation": TEXT,
    "base_dim": COUNT,
    "index": LIMIT,
}


def _weighs(value: object) -> bool:
    parts = value.split("-") if isinstance(value, str) else [value]
    return len(parts) <= 2 and all((n := decimal(part)) is not None and n > 0 for part in parts)


_WEIGHTS = Kind("a number, or the weights of both labels as in 1-2", _weighs)
DLRM: dict[str, Kind] = {
    "model.arch_feature_emb_size": COUNT,
    "model.arch_sparse_feature_size": COUNT,
    "model.arch_mlp_bot": WIDTHS,
    "model.arch_mlp_top": WIDTHS,
    "model.arch_interaction_op": TEXT,
    "model.arch_interaction_itself": FLAG,
    "model.sigmoid_bot": TEXT,
    "model.sigmoid_top": TEXT,
    "model.loss_weights": _WEIGHTS,
    "model.loss_threshold": Kind(
        "a number from 0 to below 0.5", lambda v: (n := decimal(v)) is not None and 0 <= n < 0.5
    ),
    "model.ndevices": LIMIT,
    "model.weighted_pooling": TEXT,
    "model.embedding_types.threshold": WHOLE,
    **{f"model.embedding_types.base.{key}": kind for key, kind in _EMBEDDING.items()},
    **{f"model.embedding_types.custom.{key}": kind for key, kind in _CUSTOM.items()},
    "model.preproc.dataset_config.max_ind_range": Kind("a whole number", lambda v: v == 0 or LIMIT.holds(v)),
    "model.preproc.dataset_config.randomize": TEXT,
    "model.preproc.dataset_config.sub_sample_rate": SHARE,
    "model.preproc.dataset_config.memory_map": FLAG,
}
REGRESSION: dict[str, Kind] = {
    "model.input_dim": COUNT,
    "model.output_dim": COUNT,
    "model.preproc.dataset_config.data_dir": TEXT,
    "model.preproc.dataset_config.splits": TEXTS,
    "model.preproc.dataset_config.normalize": NUMBERS,
}
_SEEDS: dict[str, Kind] = dict.fromkeys(("data_seed", "init_seed", "model_seed"), WHOLE)
_CONFIG: dict[str, Kind] = {
    "name": TEXT,
    **dict.fromkeys(("batch_size", "eval_batch_size"), COUNT),
    **dict.fromkeys(("eval_every_n", "report_every_n", "save_every_n", "keep_every_n"), COUNT),
    **dict.fromkeys(("num_epochs", "num_batches", "num_eval_batches"), LIMIT),
    **dict.fromkeys(("eval_on_train", "eval_on_val", "pin_memory", "log_gradients"), FLAG),
    "num_workers": WHOLE,
    **_SEEDS,
}
# The first form has them in `train` itself.
FIRST = {f"train.{key}": kind for key, kind in _CONFIG.items() if key != "name"}
_OPTIMIZER: dict[str, Kind] = {
    "name": TEXT,
    **dict.fromkeys(("lr", "eps"), RATE),
    **dict.fromkeys(("dampening", "weight_decay", "lr_decay", "initial_accumulator_value"), LEAST_0),
    "momentum": SHARE,
    "betas": SHARES,
    **dict.fromkeys(("nesterov", "amsgrad"), FLAG),
}
_SCHEDULE: dict[str, Kind] = {
    "name": TEXT,
    **dict.fromkeys(("num_warmup_steps", "decay_start_step", "num_decay_steps"), WHOLE),
    "step": RATE,  # of plateau
}
_WIRE: dict[str, Kind] = {
    **dict.fromkeys(("name", "serialization", "serializer"), TEXT),
    **dict.fromkeys(("consumer", "producer"), FLAG),
    **dict.fromkeys(("consumer_port", "producer_port", "consumer_url", "producer_url"), PLACE),
    # cosnumer_group_id: as their file of the first form has it
    **dict.fromkeys(("consumer_topic", "producer_topic", "consumer_group_id", "cosnumer_group_id"), TEXT),
}
COMMON: dict[str, Kind] = {
    "model.name": TEXT,
    "model.loss_function": TEXT,
    "model.preproc.datafile": TEXT,
    "model.preproc.output_file": TEXT,
    "model.preproc.dataset_config.name": TEXT,
    "model.preproc.dataset_config.dataset_multiprocessing": FLAG,
    "multiprocessing.name": TEXT,
    "multiprocessing.num_aggregators": COUNT,
    "multiprocessing.num_trainers": COUNT,
    "multiprocessing.process_manager.name": TEXT,
    "aggregator.name": TEXT,
    "log_dir.PATH": TEXT,
    **dict.fromkeys((*SECRETS, "s3.region"), TEXT),
    "s3.buckets": TEXTS,
    **{f"random.{key}": kind for key, kind in _SEEDS.items()},
    **{f"{section}.*": COUNTS for section, name in _ALIASES.items() if name == "gpu_map"},
    **{f"{section}.{key}": k for section, name in _ALIASES.items() if name == "wire" for key, k in _WIRE.items()},
    **{
        f"{section}.{key}": kind
        for section in ("train", "trainer")
        for key, kind in (
            ("name", TEXT),
            *((f"config.{key}", kind) for key, kind in _CONFIG.items()),
            *((f"optimizer.{key}", kind) for key, kind in _OPTIMIZER.items()),
            *((f"lr_scheduler.{key}", kind) for key, kind in _SCHEDULE.items()),
        )
    },
}


def usual(key: str) -> str:
    """Return a key under the name that its section has below."""
    if key in FIRST:
        return f"trainer.config.{key.removeprefix('train.')}"
    for section, name in _ALIASES.items():
        if key.startswith(f"{section}."):
            return name + key[len(section) :]
    return key


_SERVICES = nothing("trainers reach the job's servers by its Services")
_EVERY_ROUND = nothing("the model is evaluated after every round, on all of each site's held-out rows")
_FIXED: dict[str, Said] = {
    "trainer.name": nothing("the trainer follows from the model"),
    "trainer.config.name": nothing("the trainer follows from the model"),
    "trainer.config.eval_batch_size": _EVERY_ROUND,
    "trainer.config.eval_every_n": _EVERY_ROUND,
    "trainer.config.eval_on_val": _EVERY_ROUND,
    "trainer.config.num_eval_batches": _EVERY_ROUND,
    "trainer.config.report_every_n": nothing("progress is logged four times a round, and shown by `fljob status`"),
    "trainer.config.keep_every_n": nothing("the newest checkpoints and the best are kept: spec.checkpoint.keep"),
    "trainer.config.num_workers": nothing("a trainer reads its rows itself; sites are spec.trainers"),
    "trainer.config.pin_memory": nothing("training is on the CPU"),
    "multiprocessing.name": nothing("each site has a pod of its own"),
    "multiprocessing.process_manager.name": nothing("each site has a pod of its own"),
    "log_dir.PATH": nothing("the record is in the job's status, its metrics and `fljob report`"),
    "s3.buckets": nothing("the model is in the checkpoint; fetch it with `fljob model get`"),
    "s3.region": nothing("the model is in the checkpoint"),
    "s3.aws_access_key": nothing("no key is needed; the model is in the checkpoint"),
    "s3.aws_secret_access_key": nothing("no key is needed; the model is in the checkpoint"),
    "model.ndevices": nothing("training is on the CPU"),
    "model.input_dim": nothing("the imported data says how many numbers there are"),
    "model.output_dim": nothing("the imported data says how many classes there are"),
    "model.preproc.output_file": nothing("the import makes a folder for each site"),
    "model.preproc.dataset_config.dataset_multiprocessing": nothing("the import takes one pass over the file"),
    "model.preproc.dataset_config.randomize": nothing("each site draws a new order for every epoch"),
    "model.preproc.dataset_config.memory_map": nothing("a trainer reads its own site's rows alone"),
    "model.preproc.dataset_config.splits": nothing("the import holds rows of each site out"),
    "base.sparse": nothing("only the rows that were touched travel"),
    "custom.sparse": nothing("only the rows that were touched travel"),
}
_RATE_ALONE = "the learning rate is what spec.optimizer.learningRate says, in every step"


def _unless(usual_value: object, note: str, otherwise: str) -> Callable[[Any], Said]:
    """Say that a value is as here, or that its effect is lost."""
    return lambda value: nothing(note) if value == usual_value else lost(otherwise)


def _embedding(section: str) -> dict[str, Callable[[Any], Said]]:
    return {
        f"{section}.mode": lambda _: nothing("each column has one id a row, of which sum and mean are the same"),
        f"{section}.init": _unless(True, "uniform in ±1/√rows, as here", "initial values are uniform in ±1/√rows"),
        f"{section}.max_norm": lambda _: lost("vectors are not shortened"),
        f"{section}.norm_type": lambda _: nothing("for max_norm only"),
        f"{section}.scale_grad_by_freq": _unless(False, "as here", "gradients are not scaled by frequency"),
        f"{section}.include_last_offset": lambda _: nothing("each column has one id a row"),
    }


_BY_VALUE: dict[str, Callable[[Any], Said]] = {
    **_embedding("base"),
    **_embedding("custom"),
    "trainer.config.eval_on_train": _unless(
        False, "as here", "training rows are not evaluated; their loss is reported each round"
    ),
    "trainer.config.log_gradients": _unless(False, "as here", "gradients are not logged"),
    "model.sigmoid_bot": _unless("relu", "as here", "hidden layers have ReLU"),
    "model.sigmoid_top": _unless(
        "relu",
        "as here; the loss makes a probability of the last layer's output",
        "hidden layers have ReLU; the loss makes a probability of the last layer's output, as a sigmoid there does",
    ),
    "multiprocessing.num_aggregators": _unless(
        1, "one coordinator, as here; shards of the server are --servers", "one coordinator; shards are --servers"
    ),
    "trainer.optimizer.nesterov": _unless(False, "as here", "momentum is plain"),
    "trainer.optimizer.amsgrad": _unless(False, "as here", "Adam is plain"),
    "trainer.optimizer.dampening": lambda v: nothing("as here") if decimal(v) == 0 else lost("momentum is undamped"),
    "trainer.optimizer.lr_decay": lambda v: nothing("as here") if decimal(v) == 0 else lost(_RATE_ALONE),
}


def without_field(key: str, value: object) -> Said | None:
    """Return what became of a key (under its usual name) that no field needs; nothing for any other."""
    if key.startswith("wire."):
        return _SERVICES
    if key.startswith("gpu_map."):
        return nothing("training is on the CPU; spec.trainers[].device says otherwise")
    if value is None or value == {}:
        return nothing("nothing is set")
    found: Mapping[str, Callable[[Any], Said]] = _BY_VALUE
    return _FIXED.get(key) or (found[key](value) if key in found else None)
