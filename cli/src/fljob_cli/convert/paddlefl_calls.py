"""The calls and settings of PaddleFL's programming interface that a job's scripts use, and which need no field here.

Used by `paddlefl`. Source: paddle_fl.core.{master,strategy,trainer,server,scheduler} of PaddleFL 1.2, fluid.optimizer
of Paddle 1.8. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fljob_cli.convert.mapping import Said, lost, nothing, shown, to
from fljob_cli.convert.scripts import Unread

NETWORK = "gru4rec_network"


@dataclass(frozen=True)
class Entry:
    """One argument of a call, one setting, or (argument "") a call that takes none."""

    key: str
    kind: str
    name: str
    argument: str
    value: Any

    @property
    def shown(self) -> str:
        """Return the value in a few words."""
        return self.value.text if isinstance(self.value, Unread) else shown(self.value)


# Constructor → kind of object.
MADE = {
    **{
        name: name
        for name in (
            "JobGenerator",
            "FLStrategyFactory",
            "FLScheduler",
            "FLServer",
            "FLRunTimeJob",
            "FLTrainerFactory",
            "Gru4rec_Reader",
        )
    },
    **dict.fromkeys(("SGD", "SGDOptimizer", "Adam", "AdamOptimizer", "Momentum", "MomentumOptimizer"), "optimizer"),
}
RESULTS = {
    ("FLStrategyFactory", "create_fl_strategy"): "strategy",
    ("FLTrainerFactory", "create_fl_trainer"): "trainer",
}
_OPTIMIZER = ("parameter_list", "regularization", "grad_clip", "name")
# (kind, method) → names of its arguments in order.
CALLS: dict[tuple[str, str], tuple[str, ...]] = {
    ("JobGenerator", ""): (),
    ("JobGenerator", "set_optimizer"): ("optimizer",),
    ("JobGenerator", "set_losses"): ("losses",),
    ("JobGenerator", "set_startup_program"): ("startup",),
    ("JobGenerator", "set_infer_feed_and_target_names"): ("feed_names", "target_names"),
    ("JobGenerator", "generate_fl_job"): ("fl_strategy", "server_endpoints", "worker_num", "output"),
    ("JobGenerator", "generate_fl_job_for_k8s"): (
        "fl_strategy",
        "server_pod_endpoints",
        "server_service_endpoints",
        "worker_num",
        "output",
    ),
    ("FLStrategyFactory", ""): (),
    ("FLStrategyFactory", "create_fl_strategy"): (),
    **{("optimizer", name): ("learning_rate", *_OPTIMIZER) for name in ("SGD", "SGDOptimizer")},
    **{
        ("optimizer", name): ("learning_rate", "beta1", "beta2", "epsilon", *_OPTIMIZER, "lazy_mode")
        for name in ("Adam", "AdamOptimizer")
    },
    **{
        ("optimizer", name): ("learning_rate", "momentum", "parameter_list", "use_nesterov", *_OPTIMIZER[1:])
        for name in ("Momentum", "MomentumOptimizer")
    },
    ("network", NETWORK): ("vocab_size", "hid_size", "init_low_bound", "init_high_bound"),
    ("FLScheduler", ""): ("worker_num", "server_num", "port", "socket"),
    ("FLScheduler", "set_sample_worker_num"): ("sample_worker_num",),
    ("FLScheduler", "init_env"): (),
    ("FLScheduler", "start_fl_training"): (),
    ("FLServer", ""): (),
    ("FLServer", "set_server_job"): ("job",),
    ("FLServer", "start"): (),
    ("FLRunTimeJob", ""): (),
    ("FLRunTimeJob", "load_trainer_job"): ("dirname", "trainer_id"),
    ("FLRunTimeJob", "load_server_job"): ("dirname", "server_id"),
    ("FLTrainerFactory", ""): (),
    ("FLTrainerFactory", "create_fl_trainer"): ("job",),
    ("trainer", "start"): ("place",),
    ("trainer", "run"): ("feed", "fetch"),
    ("trainer", "stop"): (),
    ("trainer", "reset"): (),
    ("trainer", "save_inference_program"): ("output_folder",),
    ("Gru4rec_Reader", ""): (),
    ("Gru4rec_Reader", "reader"): ("file_dir", "place", "batch_size"),
}
SETTINGS = {
    "FLStrategyFactory": ("fed_avg", "dpsgd", "sec_agg", "inner_step", "param_name_list"),
    "strategy": ("learning_rate", "clip", "batch_size", "sigma", "param_name_list"),
    "FLRunTimeJob": ("_scheduler_ep", "_endpoints"),
    "FLServer": ("_current_ep",),
    "trainer": ("_current_ep",),
}
_MOVES = "rows that a round touches go on moving by their momentum"
_SERVICES = nothing("trainers reach the job's servers by its Services")
_NO_PLAN = nothing("the FLJob is the plan; the operator makes of it what each pod needs")
_OF_ITSELF = nothing("the pods do this of themselves")
_FIXED: dict[tuple[str, str], Said] = {
    ("JobGenerator", "set_losses"): nothing("the loss is the model's: cross-entropy of the next item"),
    ("JobGenerator", "set_startup_program"): nothing("initial values follow from spec.seed"),
    ("JobGenerator", "set_infer_feed_and_target_names"): nothing("the checkpoint is of the whole model"),
    ("FLServer", "_current_ep"): _SERVICES,
    ("trainer", "_current_ep"): _SERVICES,
    ("FLRunTimeJob", "_scheduler_ep"): _SERVICES,
    ("FLRunTimeJob", "_endpoints"): _SERVICES,
    ("trainer", "run"): nothing("a round's mini-batches are spec.strategy.innerSteps"),
    **{(kind, name): _NO_PLAN for kind in ("FLRunTimeJob", "JobGenerator") for name in ("", "load_trainer_job")},
    ("FLRunTimeJob", "load_server_job"): _NO_PLAN,
}
_ARGUMENTS: dict[str, Said] = {
    "optimizer": nothing("it is named where it is made"),
    "fl_strategy": nothing("it is named where it is made"),
    "output": _NO_PLAN,
    "port": _SERVICES,
    "socket": _SERVICES,
    "server_service_endpoints": nothing("trainers reach the job's servers by its Services"),
    "vocab_size": nothing("the imported data says how many items there are"),
    "init_low_bound": lost("initial values are the model's own"),
    "init_high_bound": lost("initial values are the model's own"),
    "parameter_list": nothing("all parameters are trained"),
    "name": nothing("it names an operation of the program"),
    "place": nothing("training is on the CPU"),
    "file_dir": nothing("data lies where trainers[].data says; bring it there: `fljob data import sessions`"),
}
TAKEN = {"beta1": "beta1", "beta2": "beta2", "epsilon": "epsilon", "momentum": "momentum"}
REFUSED = {
    ("FLStrategyFactory", "dpsgd"): "there is no differential privacy here yet, and without it the job is another",
    ("FLStrategyFactory", "sec_agg"): "there is no secure aggregation here yet, and without it the job is another",
    ("JobGenerator", "save_program"): "a stored program cannot be read; give the script that makes the network",
    ("JobGenerator", "generate_fl_job_from_program"): "a stored program cannot be read; give the script that makes it",
    ("trainer", "run_with_epoch"): "rounds of whole passes are not read yet; give a script with trainer.run",
}


def said_of(entry: Entry, spec: Mapping[str, Any]) -> Said:
    """Return what became of an entry that is no layer in the spec."""
    if entry.kind == "strategy" or entry.name in {"dpsgd", "sec_agg", "param_name_list"}:
        return nothing("for strategies other than fed_avg")
    if entry.kind == "optimizer":
        return _optimized(entry, spec["optimizer"])
    found = _fields(spec).get(entry.argument or entry.name or entry.kind) or _ARGUMENTS.get(entry.argument)
    return found or _FIXED.get((entry.kind, entry.name), _OF_ITSELF)


def _fields(spec: Mapping[str, Any]) -> dict[str, Said]:
    """Return the arguments, methods and kinds that become fields."""
    servers = to(f"spec.server.replicas: {spec['server']['replicas']}", "the addresses are the Services'")
    part = spec.get("participation", {})
    return {
        "worker_num": to(f"spec.trainers: {len(spec['trainers'])}"),
        "server_num": servers,
        "server_endpoints": servers,
        "server_pod_endpoints": servers,
        "sample_worker_num": to("spec.participation.count") if part else nothing("all workers take part, as here"),
        "init_env": to("spec.participation.percent: 10", "its default") if "percent" in part else _OF_ITSELF,
        "hid_size": to("spec.model.parameters.embeddingDim, hidden"),
        NETWORK: to(f"spec.model.name: {spec['model']['name']}"),
        "batch_size": to("spec.strategy.batchSize"),
        "fed_avg": to("spec.strategy.name: FedAvg", "weighting Uniform and rowAveraging All, as its mean is"),
        "inner_step": to("spec.strategy.innerSteps"),
        "output_folder": to("spec.checkpoint", "fetch the model with `fljob model get`"),
        "Gru4rec_Reader": to(f"spec.dataset.name: {spec['dataset']['name']}"),
    }


def _optimized(entry: Entry, optimizer: Mapping[str, Any]) -> Said:
    if entry.argument in TAKEN:
        return to(f"spec.optimizer.parameters.{TAKEN[entry.argument]}")
    match entry.argument:
        case "" | "learning_rate":
            return to(f"spec.optimizer: {optimizer['name']}, learningRate", "its state is fresh each round")
        case "regularization" | "grad_clip":
            return nothing("none, as here") if entry.value is None else lost("there is none here yet")
        case "use_nesterov":
            return nothing("as here") if entry.value is False else lost("momentum is plain")
        case "lazy_mode":
            return nothing("as here, within a round") if entry.value is False else lost(_MOVES)
    return _ARGUMENTS.get(entry.argument, _OF_ITSELF)
