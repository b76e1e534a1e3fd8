"""`fljob model export`, `fljob predict` and `fljob serve`: kept models in formats for serving, and scored.

Called by `commands.model` and `commands.serving`. The graph and its formats are `fljob_runtime.serving`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fljob_api.exit_codes import ExitCode
from fljob_cli.errors import CliError
from fljob_cli.evaluate import Kept, choose, find_models
from fljob_cli.faults import data_faults
from fljob_cli.train import check_site

if TYPE_CHECKING:
    from fljob_api.fljob import FLJob
    from fljob_runtime.checkpoints.saved_model import SavedModel
    from fljob_runtime.parameters import ModelState
    from fljob_runtime.serving.answers import Answers
    from fljob_runtime.serving.served import Exported
    from fljob_runtime.training.local import LocalTrainer


EVERY = ".."  # round that is kept, but for round 0, the model before training, where there are others


@dataclass(frozen=True)
class Request:
    """What the command line asked for. site: whose private values and data are taken."""

    source: Path
    out: Path
    form: str
    rounds: str = EVERY
    site: str | None = None
    manifest: Path | None = None
    settings: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    data_root: Path | None = None


def export(request: Request) -> None:
    """Write a folder for each round; raises CliError for what is not kept or cannot be exported."""
    from fljob_cli.pooled_worker import open_site  # noqa: PLC0415 - heavy
    from fljob_runtime import registry  # noqa: PLC0415 - heavy
    from fljob_runtime.roles.trainer_setup import local_trainer  # noqa: PLC0415 - heavy
    from fljob_runtime.training.local import TrainPlan  # noqa: PLC0415 - heavy

    kept = find_models(request.source, request.manifest, request.settings)
    rounds = choose(request.rounds, sorted(kept.models), request.source)
    if request.rounds == EVERY:
        rounds = [number for number in rounds if number > 0] or rounds
    site = request.site or kept.job.spec.trainers[0].name
    check_site(kept.job, site)
    data = kept.data([site], pairs=request.data, root=request.data_root)
    with data_faults(), export_faults():
        registry.load(kept.job.spec.imports)
        opened = open_site(kept.job, site, data)
        local = local_trainer(kept.job.spec, TrainPlan.of(kept.job.spec, site), opened)
        for number in rounds:
            _write(kept, local, number, request, site)


def _write(kept: Kept, local: LocalTrainer, number: int, request: Request, site: str) -> None:
    from fljob_runtime.checkpoints.model import signature  # noqa: PLC0415 - heavy
    from fljob_runtime.serving.exported import write  # noqa: PLC0415 - heavy
    from fljob_runtime.serving.served import ExportError, Format  # noqa: PLC0415 - heavy
    from fljob_runtime.training import pooled_state  # noqa: PLC0415 - heavy

    model: SavedModel = kept.models[number]()
    if model.missing and (kept.private is None or request.site is None):
        raise ExportError(
            f"{', '.join(model.missing)} are private, each site has its own: --site NAME, of the run's folder"
        )
    state = kept.put(local, site, number, model)
    folder = request.out / str(number)
    told = signature(pooled_state.shared(local.layout.model), number, about(kept.job))
    write(folder, Format(request.form), local.model, local.data.schema, told, _whole(local, state))
    sys.stdout.write(f"{folder}\n")


def about(job: FLJob) -> dict[str, Any]:
    """Return what an exported model's signature tells of its job; rows that none trained begin by the initial seed."""
    spec = job.spec
    return {
        "job": job.metadata.name,
        "model": spec.model.to_dict(),
        "dataset": spec.dataset.to_dict(),
        "seed": spec.seed,
        "initialSeed": spec.initial_seed,
        "imports": list(spec.imports),
    }


def _whole(local: LocalTrainer, given: ModelState) -> ModelState:
    """Return all values of a loaded model; of tables with any ids the rows given, and none of other rounds."""
    from fljob_runtime.parameters import Kind, ModelState  # noqa: PLC0415 - heavy
    from fljob_runtime.training import pooled_state  # noqa: PLC0415 - heavy

    every = pooled_state.values(local)
    names = [s.name for s in local.layout.model.specs if s.kind is Kind.KEYED and s.name in given.rows]
    keyed = {name: given.rows[name] for name in names}
    return ModelState(every.dense, {**every.rows, **keyed})


@contextmanager
def export_faults() -> Iterator[None]:
    """Turn what is wrong with an exported model into a CliError."""
    from fljob_runtime.serving.served import ExportError  # noqa: PLC0415 - heavy

    try:
        yield
    except ExportError as error:
        raise CliError(str(error), code=ExitCode.BAD_DATA) from error


def open_exported(folder: Path) -> Exported:
    """Return the model of a folder that `model export` wrote; raises CliError."""
    import torch  # noqa: PLC0415 - heavy

    from fljob_runtime.serving.exported import read  # noqa: PLC0415 - heavy

    torch.set_num_threads(1)
    with data_faults(), export_faults():
        return read(folder)


def predict(folder: Path, source: Path, out: Path, *, top: int) -> None:
    """Score each row of a file; raises CliError for a file that cannot be read or does not fit the model."""
    from fljob_runtime.serving.feeds import FeedError  # noqa: PLC0415 - heavy
    from fljob_runtime.serving.tables import TableError, read_rows, results, write_rows  # noqa: PLC0415 - heavy

    model = open_exported(folder)
    try:
        columns = read_rows(source, model.feeds)
        found = results(model, columns, top=top)
    except (FeedError, TableError) as error:
        raise CliError(f"{source}: {error}", code=ExitCode.BAD_DATA) from error
    try:
        write_rows(out, found)
    except TableError as error:
        raise CliError(str(error), code=ExitCode.BAD_DATA) from error
    sys.stderr.write(f"{len(next(iter(columns.values())))} rows scored: {out}\n")


@dataclass(frozen=True)
class Listen:
    """Where `serve` listens. grpc_port: none is no gRPC; tls: certificate and key."""

    host: str
    port: int
    grpc_port: int | None
    tls: tuple[Path, Path] | None


def serve(folder: Path, *, at: Listen, items: str) -> None:
    """Answer until Ctrl-C; the first line of output is the address, the second gRPC's, if asked for.

    Raises CliError for a port in use and for files that are no certificate.
    """
    from fljob_runtime.roles.scorer_metrics import ScorerMetrics  # noqa: PLC0415 - heavy
    from fljob_runtime.serving.answers import Answers  # noqa: PLC0415 - heavy
    from fljob_runtime.serving.http import ScoringServer, tls_context  # noqa: PLC0415 - heavy

    model = open_exported(folder)
    answers = Answers(model, items, ScorerMetrics(model.told))
    try:
        context = tls_context(*at.tls) if at.tls else None
    except OSError as error:
        raise CliError(f"--cert, --key: cannot be read: {error}") from error
    try:
        server = ScoringServer(answers, at.host, at.port, context)
    except OSError as error:
        raise CliError(f"cannot listen on {at.host}:{at.port}: {error.strerror}; choose another --port") from error
    with server, _grpc(answers, at) as url:
        sys.stdout.write(f"{server.url}\n{url}")
        sys.stdout.flush()
        server.serve_forever(0.1)


@contextmanager
def _grpc(answers: Answers, at: Listen) -> Iterator[str]:
    """Answer over gRPC, if asked for; yields the address as a line, or nothing."""
    if at.grpc_port is None:
        yield ""
        return
    from fljob_runtime.serving.rpc import RpcServer  # noqa: PLC0415 - heavy

    rpc = RpcServer(answers, at.host, at.grpc_port, at.tls)
    try:
        rpc.start()
    except OSError as error:
        raise CliError(f"cannot listen on {at.host}:{at.grpc_port}: {error}; choose another --grpc-port") from error
    try:
        yield f"{rpc.url}\n"
    finally:
        rpc.stop(1.0)
