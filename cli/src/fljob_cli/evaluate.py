"""`fljob evaluate`: the kept rounds of a run, or a model, on the sites' held-out data; global and per site.

Called by `commands.local`. The run folder says which job and which data; for a model's file the command line does.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from fljob_api.exit_codes import ExitCode
from fljob_api.fljob import FLJob
from fljob_api.job_config import JobConfig
from fljob_cli import manifests, record, sites
from fljob_cli.display import decimal
from fljob_cli.errors import CliError
from fljob_cli.faults import data_faults
from fljob_cli.train import EPOCHS, check_site, kept_epochs

if TYPE_CHECKING:
    from fljob_runtime.checkpoints.saved_model import SavedModel
    from fljob_runtime.metrics.sums import MetricSums
    from fljob_runtime.parameters import ModelState
    from fljob_runtime.training.local import LocalTrainer

_RANGE = re.compile(r"(\d{0,9})\.\.(\d{0,9})|(\d{1,9})")
_TOLD = 8  # rounds that are not there
Metrics = dict[str, float]


@dataclass(frozen=True)
class Request:
    """What the command line asked for. rounds: "" is the newest; max_batches: None is all."""

    source: Path
    rounds: str = ""
    sites: tuple[str, ...] = ()
    max_batches: int | None = None
    manifest: Path | None = None
    settings: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    data_root: Path | None = None
    threads: int = 1
    json_output: bool = False


@dataclass(frozen=True)
class Kept:
    """The models of one folder by round, read when asked for. private: a site's own values of a round."""

    job: FLJob
    folders: Mapping[str, str]
    models: Mapping[int, Callable[[], SavedModel]]
    private: Callable[[LocalTrainer, str, int], ModelState] | None = None

    @property
    def sites(self) -> tuple[str, ...]:
        """Return the names of the job's trainers."""
        return tuple(trainer.name for trainer in self.job.spec.trainers)

    def data(self, names: Sequence[str], *, pairs: Sequence[str] = (), root: Path | None = None) -> dict[str, Path]:
        """Return the folders of some sites' data: given ones, else those that the run had. Raises CliError."""
        if not pairs and root is None:
            pairs = [f"{name}={folder}" for name, folder in self.folders.items() if name in names]
        return sites.resolve(self.job, pairs=pairs, root=root, only=names)

    def put(self, local: LocalTrainer, site: str, number: int, model: SavedModel) -> ModelState:
        """Load a round's model into a site's trainer; return its values, the site's own ones too.

        Raises LayoutError for a model that does not fit or whose private values are not known, and CheckpointError.
        """
        from fljob_runtime.parameters import LayoutError, Scope  # noqa: PLC0415 - heavy

        model.check_fits(local.layout.model)
        state = model.state()
        if model.missing:
            if self.private is None:
                raise LayoutError(
                    f"{model.where}: {', '.join(model.missing)} are private and stayed at the sites; evaluate the run"
                )
            state = state.merged(self.private(local, site, number))
        local.keyed.begin_again(Scope.SHARED)  # rows that this round does not have
        local.load(state)
        return state


def evaluate(request: Request) -> None:
    """Evaluate and print; raises CliError for rounds that are not kept, and for a model that does not fit the data."""
    import torch  # noqa: PLC0415 - heavy

    torch.set_num_threads(request.threads)
    kept = find_models(request.source, request.manifest, request.settings)
    rounds = choose(request.rounds, sorted(kept.models), request.source)
    for site in request.sites:
        check_site(kept.job, site)
    names = request.sites or kept.sites
    data = kept.data(names, pairs=request.data, root=request.data_root)
    with data_faults():
        sums = {name: list(_sums(kept, name, rounds, data, request.max_batches)) for name in names}
    found = [Evaluated.of(n, {name: of_site[i] for name, of_site in sums.items()}) for i, n in enumerate(rounds)]
    lines = [json.dumps(one.to_json()) for one in found] if request.json_output else table(found)
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def find_models(source: Path, manifest: Path | None, settings: Sequence[str]) -> Kept:
    """Return what a folder keeps: that of `fljob run`, of `fljob train`, or with one model. Raises CliError."""
    from fljob_runtime.checkpoints.model import MODEL  # noqa: PLC0415 - heavy
    from fljob_runtime.checkpoints.saved_model import read_model  # noqa: PLC0415 - heavy

    if (source / record.FILE_NAME).is_file():
        run = record.read(source)
        if manifest is None:
            job = manifests.of_run(run.manifest, settings, source)
        else:
            job = manifests.load(manifest, settings)
        if (source / EPOCHS).is_dir():
            models = {n: partial(read_model, source / EPOCHS / str(n)) for n in kept_epochs(source)}
            return Kept(job, run.data, models)
        return _of_run(source, job, run.data)
    if not (source / MODEL).is_file() and not source.is_file():
        raise CliError(
            f"{source}: neither the folder of a run nor a model",
            code=ExitCode.BAD_DATA,
            hint=f"give the folder that `fljob run` or `fljob train` printed, or one with a {MODEL}",
        )
    if manifest is None:
        raise CliError(f"{source}: is a model alone; say what it is of: --manifest FILE, and its data: --data-root DIR")
    with data_faults():
        model = read_model(source)
    return Kept(manifests.load(manifest, settings), {}, {model.round: lambda: model})


def _of_run(source: Path, job: FLJob, folders: Mapping[str, str]) -> Kept:
    """Return the rounds that a federated run has checkpoints of, and where its sites keep their private values.

    Those of round 0 are a trainer's present ones, so it goes first.
    """
    from fljob_runtime.backends.folder import RunFolder  # noqa: PLC0415 - heavy
    from fljob_runtime.checkpoints.manifest import complete_versions  # noqa: PLC0415 - heavy
    from fljob_runtime.checkpoints.saved_model import read_version  # noqa: PLC0415 - heavy
    from fljob_runtime.errors import CheckpointError  # noqa: PLC0415 - heavy
    from fljob_runtime.roles.private_state import PrivateStore  # noqa: PLC0415 - heavy

    folder = RunFolder(source.resolve())
    try:
        uid = JobConfig.read(folder.config).uid
    except (OSError, ValueError) as error:
        raise CliError(f"{folder.config}: cannot be read: {error}", code=ExitCode.BAD_DATA) from error
    with data_faults():
        versions = complete_versions(folder.checkpoint, uid)

    def private(local: LocalTrainer, site: str, number: int) -> ModelState:
        if number == 0:
            return local.initial_state().private(local.layout)  # which no site keeps: they follow from the seed
        store = PrivateStore(folder.storage(site), local.layout, job_uid=uid)
        if store.newest() and not store.newest(number):
            raise CheckpointError(f"{site} does not keep its private values of round {number} any more")
        return store.load(number)

    return Kept(job, folders, {m.version: partial(read_version, folder.checkpoint, m) for m in versions}, private)


def choose(wanted: str, kept: Sequence[int], source: Path) -> list[int]:
    """Return the rounds that `3..8`, `5`, `3..`, `..8` or `..` mean among those kept; "" is the newest."""
    if not kept:
        raise CliError(f"{source}: no round is kept there", code=ExitCode.BAD_DATA)
    if not wanted:
        return [kept[-1]]
    found = _RANGE.fullmatch(wanted)
    if found is None:
        raise CliError(f"--rounds {wanted}: write 3..8, 5, 3.. or ..8")
    low, high, one = found.groups()
    first, last = int(one or low or kept[0]), int(one or high or kept[-1])
    chosen = [number for number in kept if first <= number <= last]
    asked = range(first, last + 1) if one or (low and high) else sorted({first, last})
    absent = list(islice((number for number in asked if number not in chosen), _TOLD + 1))  # of perhaps 10^9
    if absent or not chosen:
        numbers = ", ".join(map(str, absent[:_TOLD])) + (" …" if len(absent) > _TOLD else "")
        raise CliError(
            f"--rounds {wanted}: not kept: {numbers or 'none is in this range'}; kept are {', '.join(map(str, kept))}",
            code=ExitCode.BAD_DATA,
            hint="spec.checkpoint.keep says how many of the newest are kept; the best one is kept besides",
        )
    return chosen


def _sums(
    kept: Kept, site: str, rounds: Sequence[int], data: Mapping[str, Path], max_batches: int | None
) -> Iterator[MetricSums]:
    """Yield the metrics of each round on one site's held-out data."""
    return (local.evaluate().sums for local in loaded(kept, site, rounds, data, max_batches))


def loaded(
    kept: Kept, site: str, rounds: Sequence[int], data: Mapping[str, Path], max_batches: int | None = None
) -> Iterator[LocalTrainer]:
    """Yield one site's trainer with the values of each round. Raises LayoutError and CheckpointError."""
    from fljob_cli.pooled_worker import open_site  # noqa: PLC0415 - heavy
    from fljob_runtime import registry  # noqa: PLC0415 - heavy
    from fljob_runtime.data.first import FirstHeldOut  # noqa: PLC0415 - heavy
    from fljob_runtime.roles.trainer_setup import local_trainer  # noqa: PLC0415 - heavy
    from fljob_runtime.training.local import TrainPlan  # noqa: PLC0415 - heavy

    spec = kept.job.spec
    registry.load(spec.imports)
    opened = open_site(kept.job, site, data)
    if max_batches is not None:
        opened = FirstHeldOut(opened, max_batches * spec.strategy.batch_size)
    local = local_trainer(spec, TrainPlan.of(spec, site), opened)
    for number in rounds:
        kept.put(local, site, number, kept.models[number]())
        yield local


@dataclass(frozen=True)
class Row:
    """What is known of one site, or of all together, in one round; undefined metrics are left out."""

    site: str
    samples: int
    metrics: Metrics

    @classmethod
    def of(cls, site: str, sums: MetricSums) -> Row:
        """Compute the metrics of sums."""
        from fljob_runtime.roles.progress_view import named  # noqa: PLC0415 - heavy

        return cls(site, sums.num_samples, named(sums.compute()))


@dataclass(frozen=True)
class Evaluated:
    """A round's rows."""

    round: int
    whole: Row
    sites: tuple[Row, ...]

    @classmethod
    def of(cls, number: int, of_sites: Mapping[str, MetricSums]) -> Evaluated:
        """Take each site's sums, and add them up."""
        from fljob_runtime.metrics.sums import MetricSums  # noqa: PLC0415 - heavy

        whole = MetricSums()
        for part in of_sites.values():
            whole = whole.merge(part)
        return cls(number, Row.of("global", whole), tuple(Row.of(name, part) for name, part in of_sites.items()))

    def to_json(self) -> dict[str, object]:
        """Return what --output json says of the round."""
        sites = {row.site: {"samples": row.samples, "metrics": row.metrics} for row in self.sites}
        return {"round": self.round, "samples": self.whole.samples, "metrics": self.whole.metrics, "sites": sites}


def table(rounds: Sequence[Evaluated]) -> list[str]:
    """Return a heading and a line per round and site. A metric has a column if it is defined in any round."""
    from fljob_runtime.roles.progress_view import in_order  # noqa: PLC0415 - heavy

    rows = [(found.round, row) for found in rounds for row in (found.whole, *found.sites)]
    columns = in_order(key for _, row in rows for key in row.metrics)
    width = max(len(row.site) for _, row in rows)
    head = "  ".join(f"{name:>{max(len(name), 7)}}" for name in columns)
    lines = [f"{'round':>5}  {'site':<{width}}  {'samples':>8}  {head}"]
    for number, row in rows:
        cells = "  ".join(f"{decimal(row.metrics.get(key)):>{max(len(key), 7)}}" for key in columns)
        lines.append(f"{number:>5}  {row.site:<{width}}  {row.samples:>8}  {cells}")
    return lines
