"""fljob-trainer: trains one site's client where its data is."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

from fljob_api import names
from fljob_api.exit_codes import ExitCode
from fljob_api.job_config import JobConfig
from fljob_runtime import registry
from fljob_runtime.compression.chain import Chain
from fljob_runtime.compression.chain import make as make_chain
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.examples import SiteData
from fljob_runtime.errors import TransportError
from fljob_runtime.messages import Failure, Finish, Hello
from fljob_runtime.parameters import LayoutError, ModelError, Scope
from fljob_runtime.programs.arguments import Common, UsageError, parser, read_config, set_up_logging
from fljob_runtime.roles.compressing import Compressing
from fljob_runtime.roles.heartbeat import Pulse
from fljob_runtime.roles.private_state import PrivateStore
from fljob_runtime.roles.server_adapter import RoundServers
from fljob_runtime.roles.trainer import Surroundings, Trainer
from fljob_runtime.roles.trainer_link import Inbox, Link, Patience
from fljob_runtime.roles.trainer_metrics import TrainerMetrics
from fljob_runtime.roles.trainer_setup import UnknownTrainerError, make_local, open_data
from fljob_runtime.schema import SchemaError
from fljob_runtime.training.compute import ComputeError
from fljob_runtime.training.dumps import Dumps
from fljob_runtime.training.local import LocalTrainer
from fljob_runtime.transport.coordinator_stream import CoordinatorStream
from fljob_runtime.transport.credentials import Credentials
from fljob_runtime.transport.errors import exit_code_of
from fljob_runtime.transport.heap import keep_freed_pieces
from fljob_runtime.transport.http import HttpPort
from fljob_runtime.transport.identity import Identity
from fljob_runtime.transport.server_client import ServerClient

_log = logging.getLogger(__name__)
_MODEL_FAULTS = (SchemaError, LayoutError, ModelError, ComputeError)
_LAST_WORD_S = 15.0
_PATIENCE_S = 0.5  # then the worker looks whether the call is still wanted


@dataclass(frozen=True)
class Options:
    """Flags of a trainer."""

    common: Common
    trainer: str
    data_dir: Path | None
    storage_dir: Path
    threads: int


class StopRequestedError(BaseException):
    """SIGTERM, raised in the main thread wherever it is."""


def parse(arguments: Sequence[str] | None) -> Options:
    """Parse the flags."""
    flags = parser("fljob-trainer", "Train one site's client of a federated job.")
    flags.add_argument("--trainer", required=True, help="name in spec.trainers")
    flags.add_argument("--data-dir", type=Path, help="default: the pod's mount if the trainer has spec data")
    flags.add_argument("--storage-dir", type=Path, default=Path(names.STORAGE_DIR), help="private state")
    flags.add_argument("--threads", type=int, default=1, help="torch threads")
    parsed = flags.parse_args(arguments)
    return Options(Common.of(parsed), parsed.trainer, parsed.data_dir, parsed.storage_dir, parsed.threads)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until the job is over for this trainer; ends the process with a code of fljob_api.exit_codes."""
    options = parse(arguments)
    keep_freed_pieces()
    set_up_logging(options.common.log_level, f"trainer trainer={options.trainer}")
    try:
        code = guarded(read_config(options.common.config), options)
    except UsageError as error:
        _log.error("%s", error)
        code = error.code
    sys.stderr.flush()
    os._exit(int(code))  # threads of grpc may still be waiting; everything that counts is on disk


def guarded(config: JobConfig, options: Options) -> ExitCode:
    """Run one trainer; faults end as logged exit codes, in one place. Also called in forked processes."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        return run(config, options)
    except StopRequestedError:
        _log.info("event=stopped")
        return ExitCode.STOPPED
    except UsageError as error:
        _log.error("%s", error)
        return error.code
    except TransportError as error:
        _log.error("%s", error)
        return exit_code_of(error)


def run(config: JobConfig, options: Options) -> ExitCode:
    """Open data and model, connect, follow instructions. Raises UsageError or TransportError."""
    torch.set_num_threads(options.threads)
    me = Identity(config.uid, names.ROLE_TRAINER, options.trainer)
    credentials = Credentials.load(options.common.tls_dir, me) if config.tls_enabled else Credentials.insecure(me)
    try:
        data = open_data(config, options.trainer, options.data_dir)
        local = make_local(config, options.trainer, data)
    except (UnknownTrainerError, registry.RegistryError, DataError, *_MODEL_FAULTS) as error:
        return _say_why(config, credentials, _code_of(error), str(error))
    return _work(config, options, credentials, (data, local))


def _work(
    config: JobConfig, options: Options, credentials: Credentials, made: tuple[SiteData, LocalTrainer]
) -> ExitCode:
    data, local = made
    inbox = Inbox()
    chain = make_chain(config.spec.strategy.compression or (), config.spec.seed)
    reach_s = float(config.spec.startup_deadline_seconds)
    store = _store(config, options.storage_dir, local, Scope.PRIVATE)
    metrics = TrainerMetrics(namespace=config.namespace, job=config.name, trainer=options.trainer)
    link = Link(
        lambda hello, seconds: CoordinatorStream.connect(config.coordinator, credentials, hello, deadline_s=seconds),
        lambda: _hello(config, options.trainer, local, store),
        inbox,
        Patience(reach_s),
    )
    pulse = Pulse(link.report)
    servers = ServerClient(
        config.servers,
        credentials,
        incarnation=config.incarnation,
        layout=local.layout,
        patience_s=_PATIENCE_S,
        chain=chain,
    )
    around = Surroundings(
        make_local=lambda: make_local(config, options.trainer, data),
        strategy=config.spec.strategy,
        servers=RoundServers(servers),
        inbox=inbox,
        report=link.report,
        store=store,
        pulse=pulse,
        metrics=metrics,
        reach_s=reach_s,
        compressing=_compressing(config, options, local, chain),
        dumps=_dumps(config, options),
    )
    trainer = Trainer(local, around)
    if options.common.http_port:
        HttpPort(metrics.text, ready=lambda: "" if link.connected else "not connected to the coordinator").start(
            options.common.listen, options.common.http_port
        )
    link.start()
    pulse.start()
    try:
        return trainer.run()
    finally:
        pulse.stop()
        link.stop()
        servers.close()


def _compressing(config: JobConfig, options: Options, local: LocalTrainer, chain: Chain | None) -> Compressing | None:
    if chain is None:
        return None
    if not chain.feedback:
        return Compressing(None)
    kept = any(site.storage for site in config.spec.trainers if site.name == options.trainer)
    if config.kubernetes is None or kept:
        return Compressing(_store(config, options.storage_dir, local, Scope.SHARED))
    _log.warning("event=residual_not_durable message=without trainers[].storage a lost pod loses what it left unsent")
    return Compressing(_store(config, Path(names.SCRATCH_DIR), local, Scope.SHARED))


def _dumps(config: JobConfig, options: Options) -> Dumps | None:
    if config.spec.dump is None:
        return None
    if config.kubernetes is not None and not any(t.storage for t in config.spec.trainers if t.name == options.trainer):
        words = f"spec.dump: {options.trainer} has no trainers[].storage, on which its dumps would lie; set it"
        raise UsageError(words, ExitCode.BAD_CONFIG)
    return Dumps(config.spec.dump, options.storage_dir, options.trainer, job_uid=config.uid)


def _store(config: JobConfig, folder: Path, local: LocalTrainer, scope: Scope) -> PrivateStore:
    try:
        checkpoint = config.spec.checkpoint
        every = checkpoint.every_rounds if checkpoint else 1
        return PrivateStore(folder, local.layout, job_uid=config.uid, rounds_per_checkpoint=every, scope=scope)
    except OSError as error:
        words = f"--storage-dir {folder}: {error.strerror}; what a trainer keeps needs a writable volume"
        raise UsageError(words, ExitCode.CHECKPOINT_UNUSABLE) from error


def _hello(config: JobConfig, trainer: str, local: LocalTrainer, store: PrivateStore) -> Hello:
    return Hello(
        job_uid=config.uid,
        incarnation=config.incarnation,
        trainer=trainer,
        layout_digest=local.layout.digest,
        layout=local.layout.to_json(),
        num_samples=local.data.num_samples,
        num_test_pairs=len(local.data.held_out().examples),
        device=str(local.plan.compute.device),
        num_cpus=len(os.sched_getaffinity(0)),
        private_version=store.newest(),
    )


def _say_why(config: JobConfig, credentials: Credentials, code: ExitCode, message: str) -> ExitCode:
    """Tell the coordinator why this trainer cannot take part, if it can be reached; then end."""
    _log.error("event=failed code=%d message=%s", code, message)
    hello = Hello(config.uid, config.incarnation, credentials.identity.name, "", b"", 0)
    try:
        stream = CoordinatorStream.connect(config.coordinator, credentials, hello, deadline_s=_LAST_WORD_S)
        stream.report(Failure(code, f"{credentials.identity.name}: {message}"))
        for instruction in stream:
            if isinstance(instruction, Finish):
                break
        stream.close()
    except TransportError as error:
        _log.warning("the coordinator was not told: %s", error)
    return code


def _code_of(error: Exception) -> ExitCode:
    if isinstance(error, DataError):
        return ExitCode.BAD_DATA
    return ExitCode.UNKNOWN_NAME if isinstance(error, registry.UnknownNameError) else ExitCode.BAD_CONFIG


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise StopRequestedError


if __name__ == "__main__":
    main()
