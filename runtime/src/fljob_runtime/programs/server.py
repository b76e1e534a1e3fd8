"""fljob-server: one shard of the parameter server. Flags in `programs.arguments`; no torch in here.

Starts the gRPC service and the HTTP port, then waits to be told that the job is over or asked to stop. State
that counts is in the checkpoints: a stop waits for the one that is being written, and for nothing else.
"""

from __future__ import annotations

import argparse
import logging
import queue
import signal
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from fljob_api import names
from fljob_api.exit_codes import ExitCode
from fljob_api.job_config import JobConfig
from fljob_api.strategy import Mode
from fljob_runtime.algorithms.modes import algorithm, exchange_rule, server_optimizer
from fljob_runtime.compression import chain
from fljob_runtime.errors import CheckpointError, TransportError
from fljob_runtime.programs.arguments import (
    Common,
    UsageError,
    checkpoints_of,
    parser,
    port_of,
    read_config,
    set_up_logging,
)
from fljob_runtime.server.config import ShardConfig
from fljob_runtime.server.shard import Shard
from fljob_runtime.transport.credentials import Credentials
from fljob_runtime.transport.errors import exit_code_of
from fljob_runtime.transport.heap import keep_freed_pieces
from fljob_runtime.transport.http import HttpPort
from fljob_runtime.transport.identity import Identity
from fljob_runtime.transport.shard_metrics import ShardMetrics
from fljob_runtime.transport.shard_service import ShardService

_GRACE_S = 1.0
_WRITE_GRACE_S = 10.0
DEFAULT_MEMORY_BYTES = 1 << 30
_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    flags = _parse(arguments)
    common = Common.of(flags)
    keep_freed_pieces()
    set_up_logging(common.log_level, names.ROLE_SERVER)
    try:
        return _serve(common, flags, read_config(common.config))
    except UsageError as error:
        _log.error("%s", error)
        return error.code
    except TransportError as error:
        _log.error("%s", error)
        return exit_code_of(error)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("fljob-server", "One shard of a job's parameter server.")
    made.add_argument("--shard", type=int, required=True, help="which shard this is, from 0")
    made.add_argument("--checkpoint-dir", type=Path, help="default: what spec.checkpoint says, in a pod")
    made.add_argument("--scratch-dir", type=Path, default=Path(names.SCRATCH_DIR), help="updates over the budget")
    made.add_argument(
        "--memory-bytes", type=int, default=DEFAULT_MEMORY_BYTES, help="budget of staged updates in memory"
    )
    return made.parse_args(arguments)


def _serve(common: Common, flags: argparse.Namespace, config: JobConfig) -> int:
    """Serve until told to stop; returns the exit code."""
    wanted: queue.SimpleQueue[tuple[ExitCode, str]] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _: wanted.put((ExitCode.STOPPED, signal.Signals(got).name)))
    labels = {"namespace": config.namespace, "job": config.name, "shard": str(flags.shard)}
    labels["mode"] = config.spec.strategy.mode.value
    shard = Shard(_shard_config(flags, config))
    metrics = ShardMetrics(shard, labels)
    service = ShardService(
        shard,
        _credentials(common, flags, config),
        metrics,
        num_trainers=len(config.spec.trainers),
        on_shutdown=lambda reason: wanted.put((ExitCode.DONE, reason)),
    )
    http = HttpPort(metrics.text)
    address = f"{common.listen}:{port_of(config.servers[flags.shard])}"
    try:
        port = service.start(address)
        if common.http_port:
            http.start(common.listen, common.http_port)
    except OSError as error:
        raise UsageError(str(error), ExitCode.TEMPORARY) from error
    _log.info("event=serving shard=%d shards=%d port=%d", flags.shard, len(config.servers), port)
    code, reason = wanted.get()
    received, sent = metrics.bytes_of("received"), metrics.bytes_of("sent")
    _log.info("event=stopping code=%d reason=%s received_bytes=%d sent_bytes=%d", code, reason, received, sent)
    _finish_writing(shard)
    service.stop(_GRACE_S)
    http.stop()
    return code


def _finish_writing(shard: Shard) -> None:
    """Let a version that is being written become whole, and the coordinator ask for it: calls are still answered."""
    try:
        if shard.saver is not None and shard.saver.busy:
            shard.saver.wait(_WRITE_GRACE_S)
            time.sleep(_GRACE_S)
    except CheckpointError as error:
        _log.warning("event=not_written message=%s", error)


def _shard_config(flags: argparse.Namespace, config: JobConfig) -> ShardConfig:
    if not 0 <= flags.shard < len(config.servers):
        raise UsageError(f"--shard {flags.shard}: the job has {len(config.servers)} shards, counted from 0")
    checkpoints = checkpoints_of(config, flags.checkpoint_dir, flags.scratch_dir)
    checkpoint = checkpoints.root if checkpoints else None
    for flag, folder in (("--checkpoint-dir", checkpoint), ("--scratch-dir", flags.scratch_dir)):
        if folder is not None and not folder.is_dir():
            raise UsageError(f"{flag} {folder}: no such folder")
    optimizer = server_optimizer(config.spec.strategy)
    buffered, trainers = config.spec.strategy.mode is Mode.BUFFERED, len(config.spec.trainers)
    return ShardConfig(
        job_uid=config.uid,
        incarnation=config.incarnation,
        shard=flags.shard,
        num_shards=len(config.servers),
        boot_id=uuid.uuid4().hex,
        scratch=flags.scratch_dir,
        memory_bytes=flags.memory_bytes,
        checkpoint=checkpoint,
        remote=checkpoints.remote if checkpoints else None,
        weighting=config.spec.strategy.weighting,
        row_averaging=config.spec.strategy.rows,
        averaging=algorithm(config.spec.strategy).averaging(config.spec),
        optimizer=optimizer,
        exchange=exchange_rule(config.spec.strategy, optimizer),
        max_staleness=config.spec.strategy.max_staleness,
        compression=chain.make(config.spec.strategy.compression or (), config.spec.seed),
        buffered=buffered,
        buffer_share=config.spec.strategy.buffered(trainers) / trainers if buffered else 1.0,
        seed=config.spec.initial_seed,
    )


def _credentials(common: Common, flags: argparse.Namespace, config: JobConfig) -> Credentials:
    identity = Identity(config.uid, names.ROLE_SERVER, str(flags.shard))
    if config.tls_enabled:
        return Credentials.load(common.tls_dir, identity)
    _log.warning("security.tls is Disabled: anyone who reaches this port can read and change the model")
    return Credentials.insecure(identity)


if __name__ == "__main__":
    sys.exit(main())
