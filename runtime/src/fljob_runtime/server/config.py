"""What a shard is told at start. Made by programs.server from a job's configuration; read by `shard` and others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fljob_api.strategy import RowAveraging, Weighting
from fljob_runtime.algorithms.algorithm import FEDAVG, Averaging
from fljob_runtime.algorithms.exchange import ExchangeRule
from fljob_runtime.checkpoints.remote import Remote
from fljob_runtime.compression.chain import Chain

if TYPE_CHECKING:
    from fljob_runtime.algorithms.server_optimizers import ServerOptimizer


@dataclass(frozen=True)
class ShardConfig:
    """What a shard is told at start. `checkpoint` is the root folder, None without checkpoints.

    remote: the store that checkpoints go to, `checkpoint` being its spool; None where the folder itself is what lasts.
    averaging: the algorithm's. optimizer: applies rounds' means; None makes the mean the next version. exchange: the
    rule of a mode in which values change within a round, None for Sync and Buffered. buffered: updates may be made
    from any version that is held; buffer_share: the part of the job's trainers whose updates make a version then. seed:
    of keyed tables' initial values.
    """

    job_uid: str
    incarnation: int
    shard: int
    num_shards: int
    boot_id: str
    scratch: Path
    memory_bytes: int
    checkpoint: Path | None = None
    remote: Remote | None = None
    weighting: Weighting = Weighting.SAMPLES
    row_averaging: RowAveraging = RowAveraging.TOUCHED
    averaging: Averaging = FEDAVG
    optimizer: ServerOptimizer | None = None
    exchange: ExchangeRule | None = None
    max_staleness: int | None = None
    compression: Chain | None = None
    buffered: bool = False
    buffer_share: float = 1.0
    seed: int = 0

    @property
    def slots(self) -> tuple[float, ...]:
        """Return the first values of the optimizer's state."""
        return self.optimizer.initial if self.optimizer else ()
