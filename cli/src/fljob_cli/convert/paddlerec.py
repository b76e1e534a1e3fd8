"""PaddleRec's FL-PS configuration (config_fl.yaml of models/recall/ncf) as an FLJob of the same meaning.

Source: tools/static_fl_trainer.py and tools/utils/static_ps of PaddleRec, and the geo communicator of Paddle's
parameter server (changes divided by the number of trainers, for dense and sparse parameters alike). Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fljob_api.problems import Problem, nearest
from fljob_cli.convert.mapping import Converted, Mapped, decimal, flat, fljob, plain, shown, trainers
from fljob_cli.errors import InputError

_MODES = {"geo": "Geo", "async": "Async", "sync": "StepSync"}
_FORMS = {"NCF_GMF": "GMF", "NCF_MLP": "MLP", "NCF_NeuMF": "NeuMF"}
_OPTIMIZERS = {"adam": "Adam", "sgd": "SGD", "adagrad": "Adagrad"}
# Names that Paddle gives to the embeddings of its NCF, in the order in which the network makes them.
_TABLES = {
    "GMF": ("user_embedding.gmf", "item_embedding.gmf"),
    "MLP": ("user_embedding.mlp", "item_embedding.mlp"),
    "NeuMF": ("user_embedding.gmf", "item_embedding.gmf", "user_embedding.mlp", "item_embedding.mlp"),
}
_FIELDS = {"user_input": "user", "item_input": "item", "label": "label", "prediction": "prediction"}
_READERS = {"movielens_reader": "movielens"}
_DATA = "data lies where trainers[].data says; import it once with `fljob data import movielens`"
_EVALUATED = "the model is evaluated after every round, on each site's own held-out pairs"
_WITHOUT_EFFECT = {
    "runner.with_coodinator": "a coordinator always runs; who takes part is spec.participation",
    "runner.with_coordinator": "a coordinator always runs; who takes part is spec.participation",
    "runner.split_file_list": "every trainer has its own data",
    "runner.reader_type": "data is read from Parquet shards",
    "runner.infer_reader_type": "data is read from Parquet shards",
    "runner.pipe_command": "data is read from Parquet shards; negatives are drawn anew each epoch",
    "runner.dataset_debug": "there is no reader to profile",
    "runner.example_count_method": "examples are counted, one per pair",
    "runner.print_interval": "progress is logged four times a round, and shown by `fljob status`",
    "runner.train_data_dir": _DATA,
    "runner.test_data_dir": _DATA,
    "runner.infer_reader_path": _EVALUATED,
    "runner.infer_batch_size": _EVALUATED,
    "runner.infer_load_path": _EVALUATED,
    "runner.infer_start_epoch": _EVALUATED,
    "runner.infer_end_epoch": _EVALUATED,
    "runner.dump_fields_path": "dumps lie in each site's own storage; `fljob data dump` shows them",
    "hyper_parameters.num_users": "the imported data says how many users there are",
    "hyper_parameters.num_items": "the imported data says how many items there are",
}


@dataclass
class _State:
    """What is known so far."""

    spec: dict[str, Any]
    values: Mapping[str, Any]
    keys: list[Mapped] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def choose(self, key: str, choices: Mapping[str, str], default: str) -> str:
        """Return what a key's value is called here; a value that is not known is a problem."""
        value = str(self.values.get(key, default))
        if value not in choices:
            known = ", ".join(choices)
            self.problems.append(
                Problem(key, f"unknown value {shown(value)!r}; known: {known}", nearest(value, choices))
            )
            return choices[default]
        return choices[value]

    def count(self, key: str, default: int) -> int:
        """Return a whole number above zero; anything else is a problem."""
        value = self.values.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        self.problems.append(Problem(key, f"must be a whole number above 0, not {shown(value)!r}"))
        return default

    def rate(self, key: str, default: str) -> str:
        """Return a decimal number above zero, written out; anything else is a problem."""
        value = self.values.get(key, default)
        number = decimal(value)
        if number is not None and number > 0:
            return plain(number)
        self.problems.append(Problem(key, f"must be a number above 0, not {shown(value)!r}"))
        return default


def convert(source: str, config: Mapping[str, Any], *, name: str, workers: int, servers: int) -> Converted:
    """Return the FLJob of a parsed configuration, for so many workers and servers.

    Raises InputError that names every key whose value cannot be given a meaning.
    """
    state = _State({}, dict(flat(config)))
    for section in config:
        if section not in {"runner", "hyper_parameters"}:
            state.problems.append(Problem(str(section), "not a section of config_fl.yaml: runner, hyper_parameters"))
    strategy = _strategy(state)
    state.spec = {
        "model": _model(state),
        "optimizer": _optimizer(state, strategy),
        "rounds": state.count("runner.epochs", 1),
        "dataset": {"name": state.choose("runner.train_reader_path", _READERS, "movielens_reader")},
        "strategy": strategy,
        "checkpoint": {"volumeClaimTemplate": {"storage": "1Gi"}},
        "server": {"replicas": servers},
        "trainers": trainers(name, workers),
    }
    scopes = _scopes(state)
    if scopes:
        state.spec["parameterScopes"] = scopes
    dump = _dump(state)
    if dump:
        state.spec["dump"] = dump
        for number, trainer in enumerate(state.spec["trainers"]):
            trainer["storage"] = {"persistentVolumeClaim": {"claimName": f"{name}-storage-{number}"}}
    _explain(state)
    if state.problems:
        raise InputError(source, state.problems)
    return Converted(fljob(name, state.spec), tuple(state.keys))


def _strategy(state: _State) -> dict[str, Any]:
    mode = state.choose("runner.sync_mode", _MODES, "geo")
    batch = state.count("runner.train_batch_size", 512)
    strategy: dict[str, Any] = {"mode": mode, "localEpochs": 1, "batchSize": batch, "weighting": "Uniform"}
    if mode == "Geo":
        strategy |= {"geoStep": state.count("runner.geo_step", 100), "rowAveraging": "All"}
    return strategy


def _model(state: _State) -> dict[str, Any]:
    form = state.choose("hyper_parameters.mode", _FORMS, "NCF_NeuMF")
    parameters: dict[str, Any] = {"mode": form}
    layers = state.values.get("hyper_parameters.fc_layers")
    if layers and form != "GMF":
        parameters["layers"] = ",".join(str(width) for width in _listed(state, "hyper_parameters.fc_layers", int))
    if "hyper_parameters.mf_dim" in state.values and form != "MLP":
        parameters["factors"] = state.count("hyper_parameters.mf_dim", 8)
    return {"name": "ncf", "parameters": parameters}


def _optimizer(state: _State, strategy: dict[str, Any]) -> dict[str, Any]:
    """Return the trainers' optimizer; where gradients are sent, the server's goes into the strategy."""
    chosen = state.choose("hyper_parameters.optimizer.class", _OPTIMIZERS, "adam")
    rate = state.rate("hyper_parameters.optimizer.learning_rate", "0.001")
    if strategy["mode"] != "Geo":
        strategy["serverOptimizer"] = {"name": chosen, "learningRate": rate}
        if chosen == "Adam":
            strategy["serverOptimizer"]["parameters"] = {"beta2": "0.999", "tau": "0.00000001"}
    return {"name": chosen, "learningRate": rate}


def _scopes(state: _State) -> list[dict[str, str]]:
    tables = _TABLES[state.choose("hyper_parameters.mode", _FORMS, "NCF_NeuMF")]
    named = {f"embedding_{number}.w_0": table for number, table in enumerate(tables)}
    scopes: list[dict[str, str]] = []
    for key, scope in (("runner.local_sparse", "Private"), ("runner.remote_sparse", "Shared")):
        for parameter in _listed(state, key, str):
            if parameter not in named:
                message = f"no embedding {parameter!r} in this form of NCF; there are: {', '.join(named)}"
                state.problems.append(Problem(key, message, nearest(parameter, named)))
            elif any(named[parameter] == one["name"] for one in scopes):
                state.problems.append(Problem(key, f"{parameter!r} is named before: a table is local or remote"))
            else:
                scopes.append({"name": named[parameter], "scope": scope})
    return scopes


def _dump(state: _State) -> dict[str, Any] | None:
    """Return what is dumped, of which there keep everything: of every example, after every epoch."""
    fields = [_FIELDS[name] for name in _listed(state, "runner.dump_fields", str) if name in _FIELDS]
    wanted = _listed(state, "runner.dump_param", str)
    parameters = [table for name, table in _embeddings(state).items() if name in wanted]
    if not state.values.get("runner.need_dump") or not (fields or parameters):
        return None
    return {"fields": fields, "parameters": parameters, "maxExamples": 10_000_000, "keep": 1000}


def _embeddings(state: _State) -> dict[str, str]:
    """Return what Paddle's embeddings are called here."""
    tables = _TABLES[_FORMS.get(str(state.values.get("hyper_parameters.mode")), "NeuMF")]
    return {f"embedding_{number}.w_0": table for number, table in enumerate(tables)}


def _listed(state: _State, key: str, kind: type) -> list[Any]:
    """Return a list of one kind, empty where the key is absent; anything else is a problem."""
    value = state.values.get(key)
    if value is None:
        return []
    if isinstance(value, list) and all(type(item) is kind for item in value):
        return value
    what = "names" if kind is str else "whole numbers"
    state.problems.append(Problem(key, f"must be a list of {what}, not {shown(value)!r}"))
    return []


_Said = tuple[str, str]


def _explain(state: _State) -> None:
    """Say of every key what became of it; one that is not known is a problem."""
    mode = state.spec["strategy"]["mode"]
    server = mode != "Geo"
    says: dict[str, Callable[[Any], _Said]] = {
        "runner.sync_mode": lambda _: (f"spec.strategy.mode: {mode}", "contributions count alike: weighting Uniform"),
        "runner.geo_step": lambda _: ("", "for sync_mode geo only") if server else ("spec.strategy.geoStep", ""),
        "runner.thread_num": lambda n: ("", "one thread per trainer" + (", as here" if n == 1 else "; add workers")),
        "runner.train_reader_path": lambda _: ("spec.dataset.name: movielens", ""),
        "runner.train_batch_size": lambda _: ("spec.strategy.batchSize", ""),
        "runner.model_save_path": lambda _: ("spec.checkpoint", "fetch the model with `fljob model get`"),
        "runner.use_gpu": lambda on: (
            "",
            "training is on the CPU" + (", unless spec.device says otherwise" if on else ", as here"),
        ),
        "runner.epochs": lambda _: ("spec.rounds", "a round is one pass over each site's data"),
        "runner.need_dump": lambda on: (
            ("spec.dump", "of held-out examples") if on else ("", "nothing is dumped, as here")
        ),
        "runner.dump_fields": lambda names: _dump_said(state, "fields", names, _FIELDS),
        "runner.dump_param": lambda names: _dump_said(state, "parameters", names, _embeddings(state)),
        "runner.local_sparse": lambda names: _scoped(names, "Private", "the rows never leave their site"),
        "runner.remote_sparse": lambda names: _scoped(names, "Shared", "touched rows travel"),
        "hyper_parameters.optimizer.class": lambda name: _optimized(server=server, part="name", state=name != "sgd"),
        "hyper_parameters.optimizer.learning_rate": lambda _: _optimized(server=server, part="learningRate"),
        "hyper_parameters.mf_dim": lambda _: _parameter(state, "factors"),
        "hyper_parameters.mode": lambda _: ("spec.model.parameters.mode", ""),
        "hyper_parameters.fc_layers": lambda _: _parameter(state, "layers"),
    }
    known = [*says, *_WITHOUT_EFFECT]
    for key, value in state.values.items():
        if key not in known:
            state.problems.append(Problem(key, "not a key of config_fl.yaml that is known here", nearest(key, known)))
            continue
        field_, note = says[key](value) if key in says else ("", _WITHOUT_EFFECT[key])
        state.keys.append(Mapped(key, shown(value), field_, note, lost=_is_lost(state, key)))


def _is_lost(state: _State, key: str) -> bool:
    """Return whether a dump is asked for of what has no name here."""
    known = {"runner.dump_fields": _FIELDS, "runner.dump_param": _embeddings(state)}.get(key)
    if known is None or not state.values.get("runner.need_dump"):
        return False
    return bool(_unnamed(state.values.get(key), known))


def _unnamed(names: Any, known: Mapping[str, str]) -> list[str]:  # noqa: ANN401 - what YAML holds
    """Return the names of a list, if it is one, that are not known."""
    return [name for name in names if isinstance(name, str) and name not in known] if isinstance(names, list) else []


def _dump_said(state: _State, part: str, names: Any, known: Mapping[str, str]) -> _Said:  # noqa: ANN401 - what YAML holds
    absent = _unnamed(names, known)
    if not names or "dump" not in state.spec:
        return "", "nothing is dumped" if names else "names nothing"
    return f"spec.dump.{part}", f"without {', '.join(absent)}: no such name here" if absent else ""


def _scoped(names: Any, scope: str, note: str) -> _Said:  # noqa: ANN401 - what YAML holds
    return (f"spec.parameterScopes: {scope}", note) if names else ("", "names nothing")


def _optimized(*, server: bool, part: str, state: bool = False) -> _Said:
    if not server:
        fresh = "its state is fresh each round; there moments and sums last through all epochs"
        return f"spec.optimizer.{part}", fresh if state else ""
    return (
        f"spec.strategy.serverOptimizer.{part}",
        "the server applies gradients; its Adam does not correct its beginning",
    )


def _parameter(state: _State, name: str) -> _Said:
    used = name in state.spec["model"]["parameters"]
    return (f"spec.model.parameters.{name}", "") if used else ("", "this form of NCF has none")
