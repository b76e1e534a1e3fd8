"""fljob-coordinator: decides the rounds of one job. Imports neither torch nor any data."""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fljob_api import names
from fljob_api.exit_codes import ExitCode
from fljob_api.job_config import JobConfig
from fljob_runtime import registry
from fljob_runtime.checkpoints.remote_store import RemoteStore
from fljob_runtime.checkpoints.store import FolderStore
from fljob_runtime.errors import TransportError
from fljob_runtime.programs.arguments import (
    Checkpoints,
    Common,
    UsageError,
    checkpoints_of,
    parser,
    port_of,
    read_config,
    set_up_logging,
)
from fljob_runtime.roles.controls import ControlSource, FileControl, FLJobControl
from fljob_runtime.roles.coordinator import ControlWatch, Coordinator, Item, Report, StopRequested, Surroundings
from fljob_runtime.roles.coordinator_metrics import CoordinatorMetrics
from fljob_runtime.roles.journal import Journal, JournalError
from fljob_runtime.roles.journal_log import FileLog, Log, SegmentLog
from fljob_runtime.roles.kube import KubeClient
from fljob_runtime.roles.progress_sinks import ConfigMapProgress, FileProgress, ProgressSink
from fljob_runtime.roles.progress_view import Identity
from fljob_runtime.roles.publisher import Publisher
from fljob_runtime.roles.shards import CheckpointStore, Limits, ShardKeeper
from fljob_runtime.rounds.rules import ABSENCE_GRACE_S, Rules, control_of, rules_of
from fljob_runtime.rounds.values import Event, Lost
from fljob_runtime.transport import identity as wire_identity
from fljob_runtime.transport.coordinator_service import CoordinatorService
from fljob_runtime.transport.credentials import Credentials
from fljob_runtime.transport.errors import exit_code_of
from fljob_runtime.transport.http import HttpPort
from fljob_runtime.transport.server_client import ServerClient

_log = logging.getLogger(__name__)
_LOCAL_PROGRESS_S = 0.2
_LOCAL_CONTROL_S = 0.3


@dataclass(frozen=True)
class Options:
    """Flags of the coordinator. No checkpoint_dir: work in scratch_dir, whose content ends with the pod."""

    common: Common
    checkpoint_dir: Path | None
    scratch_dir: Path
    progress_file: Path | None
    control_file: Path | None
    absence_grace_s: float


def parse(arguments: Sequence[str] | None) -> Options:
    """Parse the flags."""
    flags = parser("fljob-coordinator", "Decide the rounds of one federated job.")
    flags.add_argument("--checkpoint-dir", type=Path, help="default: what spec.checkpoint says, in a pod")
    flags.add_argument("--scratch-dir", type=Path, default=Path(names.SCRATCH_DIR))
    flags.add_argument("--progress-file", type=Path, help="instead of the progress ConfigMap")
    flags.add_argument("--control-file", type=Path, help="instead of the FLJob: suspend, rounds, stopCriteria")
    flags.add_argument("--absence-grace-seconds", type=float, default=ABSENCE_GRACE_S)
    parsed = flags.parse_args(arguments)
    return Options(
        common=Common.of(parsed),
        checkpoint_dir=parsed.checkpoint_dir,
        scratch_dir=parsed.scratch_dir,
        progress_file=parsed.progress_file,
        control_file=parsed.control_file,
        absence_grace_s=parsed.absence_grace_seconds,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until the job is over; ends the process with a code of fljob_api.exit_codes."""
    options = parse(arguments)
    set_up_logging(options.common.log_level, "coordinator")
    try:
        config = read_config(options.common.config)
        code = run(config, options)
    except UsageError as error:
        _log.error("%s", error)
        code = error.code
    except registry.UnknownNameError as error:
        _log.error("%s", error)
        code = ExitCode.UNKNOWN_NAME
    except registry.RegistryError as error:
        _log.error("%s", error)
        code = ExitCode.BAD_CONFIG
    except JournalError as error:
        _log.error("%s", error)
        code = ExitCode.CHECKPOINT_UNUSABLE
    except TransportError as error:
        _log.error("%s", error)
        code = exit_code_of(error)
    sys.stderr.flush()
    os._exit(int(code))  # threads of grpc may still be waiting; everything that counts is on disk


def run(config: JobConfig, options: Options) -> ExitCode:
    """Run one job; raises UsageError, RegistryError, JournalError or TransportError when it cannot begin."""
    inbox: queue.SimpleQueue[Item] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: inbox.put(StopRequested()))
    rules = _rules(config, options)
    metrics = CoordinatorMetrics(namespace=config.namespace, job=config.name)
    checkpoints = checkpoints_of(config, options.checkpoint_dir, options.scratch_dir)
    durable = checkpoints is not None
    journal = Journal(_journal_log(config, options, checkpoints), uid=config.uid)
    me = wire_identity.Identity(config.uid, names.ROLE_COORDINATOR, names.ROLE_COORDINATOR)
    secure = config.tls_enabled
    credentials = Credentials.load(options.common.tls_dir, me) if secure else Credentials.insecure(me)
    service = _serve(config, options, credentials, inbox)
    servers = ServerClient(config.servers, credentials, incarnation=config.incarnation)
    keeper = ShardKeeper(
        servers,
        _store(config, checkpoints) if checkpoints else None,
        num_shards=len(config.servers),
        emit=inbox.put,
        limits=Limits(reach_s=rules.startup_deadline_s),
    )
    sink, source = _outside(config, options)
    publisher = Publisher(sink, metrics.progress_error, interval_s=_LOCAL_PROGRESS_S if options.progress_file else 1.5)
    around = Surroundings(
        streams=service,
        keeper=keeper,
        journal=journal,
        publisher=publisher,
        metrics=metrics,
        who=Identity(config.uid, config.incarnation, durable),
        clock=time.time,
    )
    coordinator = Coordinator(rules, control_of(config.spec), around, inbox)
    _open_http(options.common, coordinator, metrics)
    keeper.start()
    if source is not None:
        ControlWatch(source, inbox, every_s=_LOCAL_CONTROL_S if options.control_file else 2.0).start()
    return coordinator.run()


def _rules(config: JobConfig, options: Options) -> Rules:
    registry.load_selectors(config.spec.participation.selector.name, config.spec.imports)
    return rules_of(config.spec, incarnation=config.incarnation, absence_grace_s=options.absence_grace_s)


def _journal_log(config: JobConfig, options: Options, checkpoints: Checkpoints | None) -> Log:
    if checkpoints is None or checkpoints.remote is None:
        root = checkpoints.root if checkpoints else options.scratch_dir
        return FileLog(root / config.uid / "journal.jsonl")
    return SegmentLog(checkpoints.remote.beside("journal"), f"{config.uid}/journal")


def _serve(
    config: JobConfig, options: Options, credentials: Credentials, inbox: queue.SimpleQueue[Item]
) -> CoordinatorService:
    service = CoordinatorService(
        credentials,
        incarnation=config.incarnation,
        trainers=frozenset(trainer.name for trainer in config.spec.trainers),
        on_report=lambda trainer, report: inbox.put(Report(trainer, report)),
        on_gone=lambda trainer: inbox.put(_lost(trainer)),
    )
    try:
        service.start(f"{options.common.listen}:{port_of(config.coordinator)}")
    except OSError as error:
        raise UsageError(str(error), ExitCode.TEMPORARY) from error
    return service


def _store(config: JobConfig, checkpoints: Checkpoints) -> CheckpointStore:
    spec = config.spec
    about = {"job": config.name, "model": spec.model.to_dict(), "dataset": spec.dataset.to_dict(), "seed": spec.seed}
    if checkpoints.remote is not None:
        return RemoteStore(checkpoints.remote, config.uid, about)
    return FolderStore(checkpoints.root, config.uid, about)


def _lost(trainer: str) -> Event:
    return Lost(trainer)


def _outside(config: JobConfig, options: Options) -> tuple[ProgressSink, ControlSource | None]:
    """Return where progress goes and where changes come from: files, or the cluster's API server."""
    if options.progress_file is not None:
        control = FileControl(options.control_file, config.spec) if options.control_file else None
        return FileProgress(options.progress_file), control
    if config.kubernetes is None:
        raise UsageError("--progress-file is needed outside a cluster (the job's file names no kubernetes target)")
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise UsageError("KUBERNETES_SERVICE_HOST is not set: this is no pod; give --progress-file")
    client = KubeClient.in_pod(host, port)
    return ConfigMapProgress(client, config.kubernetes), FLJobControl(client, config.kubernetes, config.spec)


def _open_http(common: Common, coordinator: Coordinator, metrics: CoordinatorMetrics) -> None:
    if common.http_port:
        port = HttpPort(metrics.text, ready=lambda: "" if coordinator.ready else "waiting for servers and trainers")
        port.start(common.listen, common.http_port)


if __name__ == "__main__":
    main()
