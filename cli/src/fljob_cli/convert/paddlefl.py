"""PaddleFL's GRU4Rec job as an FLJob of the same meaning, read from its scripts, none of which is run.

A compiled job folder (serialised programs, a pickled strategy) is not read: loading a pickle runs what is in it, and
all that it holds is written in the script that made it. FedAvg there sums the trainers' parameters and divides by their
number, tables included. Called by `command`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from fljob_api.problems import Problem, nearest
from fljob_cli.convert.mapping import (
    COUNT,
    FLAG,
    MOST_TRAINERS,
    RATE,
    TEXTS,
    Converted,
    Kind,
    Mapped,
    decimal,
    fljob,
    plain,
    shown,
    trainers,
)
from fljob_cli.convert.paddlefl_calls import (
    CALLS,
    MADE,
    NETWORK,
    REFUSED,
    RESULTS,
    SETTINGS,
    TAKEN,
    Entry,
    said_of,
)
from fljob_cli.convert.paddlefl_layers import Layers, said_of_layer
from fljob_cli.convert.scripts import Loop, Script, Unread, Use, read_script, value_of
from fljob_cli.errors import CliError, InputError

_GENERATE = ("generate_fl_job", "generate_fl_job_for_k8s")
_OPTIMIZERS = {"SGD": "SGD", "Momentum": "SGD", "Adam": "Adam"}
_HIDDEN_SIZE, _READER_BATCH = 100, 125


class _Job:
    """All that the scripts say."""

    def __init__(self, scripts: list[Script]) -> None:
        self.problems: list[Problem] = []
        self.entries: list[Entry] = []
        self.scripts = scripts
        uses = [[entry for use in script.uses for entry in self._entries(use)] for script in scripts]
        called = {entry.argument: entry.value for found in uses for entry in found if entry.kind == "network"}
        self.has_network = bool(called)
        for script, found in zip(scripts, uses, strict=True):
            self.entries += [*self._network(script, called), *found]

    def _entries(self, use: Use) -> Iterator[Entry]:
        known = CALLS.get((use.kind, use.name))
        refused = REFUSED.get((use.kind, use.name))
        if refused and use.values.get("", True) is not False:
            self.refuse(use.key, refused)
        elif use.setting:
            settings = SETTINGS.get(use.kind, ())
            if use.name not in settings:
                self.refuse(use.key, "not a setting that is known here", nearest(use.name, settings))
            yield Entry(use.key, use.kind, use.name, "", use.values[""])
        elif known is None:
            methods = [name for kind, name in CALLS if kind == use.kind and name]
            self.refuse(use.key, "not a call that is known here", nearest(use.name, methods))
        else:
            yield from self._arguments(use, known)

    def _arguments(self, use: Use, known: tuple[str, ...]) -> Iterator[Entry]:
        if len(use.positional) > len(known):
            self.refuse(use.key, f"takes {len(known)} arguments at most")
        if any(isinstance(value, Unread) and value.text.startswith("*") for value in use.positional):
            self.refuse(use.key, "its arguments cannot be read behind *; write them out")
        for name, value in [*zip(known, use.positional, strict=False), *use.values.items()]:
            if name not in known:
                self.refuse(f"{use.key}.{name}", "not an argument that is known here", nearest(name, known))
            yield Entry(f"{use.key}.{name}", use.kind, use.name, name, value)
        if not use.positional and not use.values:
            yield Entry(use.key, use.kind, use.name, "", Unread("()"))

    def _network(self, script: Script, called: Mapping[str, Any]) -> Iterator[Entry]:
        """Yield what the network's function says, where a script has it: defaults that no call replaces, and layers."""
        function = script.functions.get(NETWORK)
        if function is None:
            return
        names = [argument.arg for argument in function.args.args]
        defaults = function.args.defaults
        known = CALLS["network", NETWORK]
        unnamed = max(
            (len(use.positional) for one in self.scripts for use in one.uses if use.kind == "network"), default=0
        )
        if tuple(name for name in names if name != "self")[:unnamed] != known[:unnamed]:
            self.refuse(f"{script.name}:{function.lineno} {NETWORK}", "has other arguments than PaddleFL's; name them")
        said = dict(called)
        for name, node in zip(names[len(names) - len(defaults) :], defaults, strict=True):
            key = f"{script.name}:{node.lineno} {NETWORK}.{name}"
            if name not in known:
                self.refuse(key, "not an argument that is known here", nearest(name, known))
            elif name not in called:
                said[name] = value_of(node, script.constants)
                yield Entry(key, "network", NETWORK, name, said[name])
        layers = Layers(script.name, {"vocab_size": -1, "hid_size": _HIDDEN_SIZE} | _sizes(said))
        layers.read(function, script.constants)
        self.problems += layers.problems
        yield from layers.entries

    def refuse(self, key: str, message: str, suggestion: str = "") -> None:
        """Note what can be given no meaning."""
        self.problems.append(Problem(key, message, suggestion))

    def one(self, kind: str, names: tuple[str, ...], argument: str, holds: Kind, default: Any = None) -> Any:  # noqa: ANN401
        """Return what is said once, of its kind; the default where nothing is."""
        said = [e for e in self.entries if e.kind == kind and e.name in names and e.argument == argument]
        for entry in said:
            if isinstance(entry.value, Unread):
                self.refuse(entry.key, f"is computed ({entry.value}); write it out, since no script is run")
                return default
            if not holds.holds(entry.value):
                self.refuse(entry.key, f"must be {holds.words}, not {shown(entry.value)!r}")
                return default
            if entry.value != said[0].value:
                self.refuse(entry.key, f"differs from {said[0].key}")
        return said[0].value if said else default

    def has(self, kind: str, name: str = "") -> bool:
        """Return whether there is such a call or setting."""
        return any(e.kind == kind and e.name == name for e in self.entries)


def _sizes(said: Mapping[str, Any]) -> dict[str, int]:
    """Return the numbers of items and of the state; of what is computed, others than any that are written."""
    there = {"vocab_size": -1, "hid_size": -1_000_003}
    return {name: said[name] if COUNT.holds(said[name]) else there[name] for name in there if name in said}


def convert(scripts: Mapping[str, str], *, name: str, rounds: int | None) -> Converted:
    """Return the FLJob of a job's scripts (names and texts); `rounds` goes before what a trainer's loop says.

    Raises InputError that names every call, argument and setting that cannot be given a meaning.
    """
    try:
        job = _Job([read_script(source, text, MADE, RESULTS) for source, text in scripts.items()])
    except RecursionError as error:  # of the network's function, which read_script keeps as it is
        raise CliError(f"{', '.join(scripts)}: {NETWORK} cannot be read: {error}") from error
    workers = _workers(job)
    spec: dict[str, Any] = {
        "model": _model(job),
        "optimizer": _optimizer(job),
        "rounds": _rounds(job, rounds),
        "dataset": {"name": "sessions"},
        "strategy": _strategy(job),
        "checkpoint": {"volumeClaimTemplate": {"storage": "1Gi"}},
        "server": {"replicas": _servers(job)},
        "trainers": trainers(name, workers),
    }
    if participation := _participation(job, workers):
        spec["participation"] = participation
    if job.problems:
        raise InputError(", ".join(scripts), job.problems)
    said = [(e, said_of_layer(e) if e.kind == "layers" else said_of(e, spec)) for e in job.entries]
    loops = [Mapped(loop.where, "while", "spec.rounds", f"it runs {loop.times} times") for loop in _loops(job)]
    mapped = [Mapped(e.key, e.shown, s.field, s.note, s.lost) for e, s in said]
    return Converted(fljob(name, spec), (*mapped, *loops))


def _workers(job: _Job) -> int:
    count: int = job.one("JobGenerator", _GENERATE, "worker_num", COUNT, 1)
    if not any(job.has("JobGenerator", name) for name in _GENERATE):
        job.refuse("generate_fl_job", "no script calls it; give fl_master.py")
    if count > MOST_TRAINERS:
        job.refuse("generate_fl_job.worker_num", f"at most {MOST_TRAINERS} trainers")
    scheduled = job.one("FLScheduler", ("",), "worker_num", COUNT, count)
    if scheduled != count:
        job.refuse("FLScheduler.worker_num", f"is {scheduled}, and generate_fl_job has {count}")
    return min(count, MOST_TRAINERS)


def _servers(job: _Job) -> int:
    count = len(job.one("JobGenerator", _GENERATE[:1], "server_endpoints", TEXTS, ()))
    count = count or len(job.one("JobGenerator", _GENERATE[1:], "server_pod_endpoints", TEXTS, ()))
    if not count:
        job.refuse("generate_fl_job.server_endpoints", "must name the servers, one at least")
    scheduled = job.one("FLScheduler", ("",), "server_num", COUNT, count)
    if count and scheduled != count:
        job.refuse("FLScheduler.server_num", f"is {scheduled}, and generate_fl_job has {count} endpoints")
    return max(1, count)


def _participation(job: _Job, workers: int) -> dict[str, int]:
    if not job.has("FLScheduler"):
        return {}
    sample = job.one("FLScheduler", ("set_sample_worker_num",), "sample_worker_num", COUNT, 0)
    if sample > workers:
        job.refuse("FLScheduler.set_sample_worker_num", f"must be at most {workers}, the number of workers")
    if sample == 0:
        return {"percent": 10}
    return {"count": sample} if sample < workers else {}


def _model(job: _Job) -> dict[str, Any]:
    if not job.has_network and not job.problems:
        job.refuse(NETWORK, "no script calls it, and no other network is known here")
    width = job.one("network", (NETWORK,), "hid_size", COUNT, _HIDDEN_SIZE)
    embedded = job.one("layers", ("embedding",), "size", COUNT, width)
    made = sum((e.kind, e.name, e.argument) == ("layers", "dynamic_gru", "") for e in job.entries)
    parameters = {"embeddingDim": embedded, "hidden": width} | ({"numLayers": made} if made > 1 else {})
    return {"name": "gru4rec", "parameters": parameters}


def _optimizer(job: _Job) -> dict[str, Any]:
    made = list(dict.fromkeys(e.name for e in job.entries if e.kind == "optimizer"))
    if not job.has("JobGenerator", "set_optimizer"):
        if made:
            job.refuse("set_optimizer", "no script calls it, so the optimizer that is made is not used")
        return {"name": "SGD", "learningRate": "0.001"}
    if len(made) != 1:
        job.refuse("set_optimizer", "one optimizer must be made in a script: SGD, Momentum or Adam")
        return {"name": "SGD"}
    name = made[0].removesuffix("Optimizer")
    rate = job.one("optimizer", (made[0],), "learning_rate", RATE, "0.001" if name == "Adam" else None)
    if rate is None and not job.problems:
        job.refuse(f"{made[0]}.learning_rate", "is required")
    values = {here: job.one("optimizer", (made[0],), there, RATE) for there, here in TAKEN.items()}
    parameters = {key: plain(number) for key, value in values.items() if (number := decimal(value)) is not None}
    named = {"name": _OPTIMIZERS.get(name, name), "learningRate": plain(decimal(rate) or Decimal(1))}
    return named | ({"parameters": parameters} if parameters else {})


def _strategy(job: _Job) -> dict[str, Any]:
    chosen = job.one("FLStrategyFactory", ("fed_avg",), "", FLAG, False)
    if not chosen and not job.problems:
        job.refuse("FLStrategyFactory.fed_avg", "no script sets it to True, and no other strategy is known here")
    steps = job.one("FLStrategyFactory", ("inner_step",), "", COUNT, 1)
    batch = job.one("Gru4rec_Reader", ("reader",), "batch_size", COUNT, _READER_BATCH)
    if not job.has("Gru4rec_Reader", "reader"):
        job.refuse("Gru4rec_Reader.reader", "no script calls it, so the mini-batch is not told; give fl_trainer.py")
    return {"mode": "Sync", "innerSteps": steps, "batchSize": batch, "weighting": "Uniform", "rowAveraging": "All"}


def _loops(job: _Job) -> list[Loop]:
    return [loop for script in job.scripts for loop in script.loops if loop.times is not None and loop.broken]


def _rounds(job: _Job, given: int | None) -> int:
    """Return the rounds: given, or how often a trainer's loop runs, if it breaks off after inner_step mini-batches."""
    if given is not None:
        return given
    times = [loop.times or 0 for loop in _loops(job)]
    if len(times) == 1 and times[0] > 0:
        return times[0]
    whole = any(not loop.broken for script in job.scripts for loop in script.loops)
    why = "its loop takes whole passes over data of unknown size" if whole else "no loop of a trainer tells them"
    job.refuse("rounds", f"{why}; give --rounds (a round is inner_step mini-batches of each worker)")
    return 1
