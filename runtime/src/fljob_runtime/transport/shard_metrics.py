"""The metrics of one shard: what calls did is counted as they end, what the shard holds is read at each scrape.

Used by shard_service (counts) and programs.server (the HTTP port). Names: fljob_api.metric_names.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields

from fljob_api.metric_names import SERVER
from fljob_runtime.errors import NotReadyError
from fljob_runtime.messages import CommitResult
from fljob_runtime.server.keyed import TableCounts
from fljob_runtime.server.live import Answer
from fljob_runtime.server.shard import Shard
from fljob_runtime.server.versions import ShardModel
from fljob_runtime.transport.errors import FAULTS
from fljob_runtime.transport.metrics import Metrics

CALLS = ("pull", "push", "exchange", "commit")
MAX_TABLES = 32  # with a label of their own: the layout is the users', a Prometheus is everybody's
OTHER_TABLES = "other"


class ShardMetrics:
    """Counts for one shard. labels: namespace, job, shard, mode. Thread-safe."""

    def __init__(self, shard: Shard, labels: Mapping[str, str]) -> None:
        self._shard = shard
        self._metrics = Metrics(SERVER, labels)
        self._lock = threading.Lock()
        self._under_way = Counter[str]()
        self._bytes = Counter[str]()
        for call in CALLS:
            self._metrics.set("fljob_server_calls", 0, call=call)
        for fault in FAULTS:  # there from the start at 0: Prometheus' increase() misses a first 1
            self._metrics.add("fljob_server_rejected_total", 0, reason=fault.error.__name__)
        self._metrics.set("fljob_server_memory_limit_bytes", shard.config.memory_bytes)

    def text(self) -> bytes:
        """Return all of them in the exposition format, as they are now."""
        load, metrics = self._shard.load(), self._metrics
        metrics.set("fljob_server_staged_updates", load.num_staged)
        metrics.set("fljob_server_staged_bytes", load.staged_bytes)
        metrics.set("fljob_server_waiting_contributions", load.num_waiting)
        metrics.set("fljob_server_memory_bytes", load.memory_bytes)
        metrics.total("fljob_server_spilled_bytes_total", load.spilled_bytes)
        self._read_work()
        self._read_checkpoints()
        if model := self._model():
            self._read_tables(model)
        return metrics.text()

    @contextmanager
    def calling(self, call: str) -> Iterator[None]:
        """Time one call, which is under way meanwhile."""
        start = time.monotonic()
        self._move(call, 1)
        try:
            yield
        finally:
            self._move(call, -1)
            self._metrics.observe(f"fljob_server_{call}_seconds", time.monotonic() - start)

    def received(self, num_bytes: int) -> None:
        """Count payload bytes of updates; their rows are the shard's to count, who knows what is in them."""
        self._move_bytes("received", num_bytes)

    def sent(self, num_bytes: int, rows: Mapping[str, int]) -> None:
        """Count payload bytes of values, and their rows by table."""
        self._move_bytes("sent", num_bytes)
        model = self._model()
        for table, count in by_label(model, rows).items() if model else ():
            self._metrics.add("fljob_server_sent_rows_total", count, table=table)

    def contributed(self, answer: Answer) -> None:
        """Count how stale a contribution was, and whether it was left out."""
        self._metrics.observe("fljob_server_staleness_updates", answer.staleness)
        if answer.dropped:
            self._metrics.add("fljob_server_stale_dropped_total")

    def committed(self, result: CommitResult) -> None:
        """Count a commit."""
        for staleness in result.staleness:
            self._metrics.observe("fljob_server_staleness_updates", staleness)
        if not result.missing:
            self.at(result.version)

    def at(self, version: int) -> None:
        """Note the newest version."""
        self._metrics.set("fljob_server_version", version)

    def refused(self, reason: str) -> None:
        """Count a message refused."""
        self._metrics.add("fljob_server_rejected_total", reason=reason)

    def bytes_of(self, direction: str) -> int:
        """Return the payload bytes `received` or `sent` so far."""
        with self._lock:
            return self._bytes[direction]

    def _move_bytes(self, direction: str, num_bytes: int) -> None:
        with self._lock:
            self._bytes[direction] += num_bytes
        self._metrics.add(f"fljob_server_{direction}_bytes_total", num_bytes)

    def _move(self, call: str, by: int) -> None:
        with self._lock:
            self._under_way[call] += by
            self._metrics.set("fljob_server_calls", self._under_way[call], call=call)

    def _read_work(self) -> None:
        totals, metrics = self._shard.work.totals, self._metrics
        metrics.total("fljob_server_plain_bytes_total", totals.plain_bytes)
        metrics.total("fljob_server_folded_updates_total", totals.folded_updates)
        metrics.total("fljob_server_folded_bytes_total", totals.folded_bytes)
        metrics.total("fljob_server_fold_seconds_total", totals.fold_seconds)

    def _read_checkpoints(self) -> None:
        saver, metrics = self._shard.saver, self._metrics
        metrics.total("fljob_server_checkpoints_total", saver.num_full if saver else 0, kind="full")
        metrics.total("fljob_server_checkpoints_total", saver.num_increments if saver else 0, kind="increment")
        if saver and (last := saver.last):
            metrics.set("fljob_server_checkpoint_timestamp_seconds", last.unix_time)
            metrics.set("fljob_server_checkpoint_duration_seconds", last.seconds)
            metrics.set("fljob_server_checkpoint_bytes", last.num_bytes)

    def _read_tables(self, model: ShardModel) -> None:
        for table, count in by_label(model, self._shard.work.totals.taken_rows).items():
            self._metrics.total("fljob_server_received_rows_total", count, table=table)
        rows, sizes = table_sizes(model)
        for table, count in by_label(model, rows).items():
            self._metrics.set("fljob_server_table_rows", count, table=table)
        for table, size in by_label(model, sizes).items():
            self._metrics.set("fljob_server_table_bytes", size, table=table)
        counts = {table: asdict(counted) for table, (_, counted) in self._shard.table_counts.items()}
        for event in (field.name for field in fields(TableCounts)):
            for table, count in by_label(model, {table: counted[event] for table, counted in counts.items()}).items():
                self._metrics.total("fljob_server_keyed_rows_total", count, table=table, event=event)

    def _model(self) -> ShardModel | None:
        try:
            return self._shard.model()
        except NotReadyError:
            return None


def table_sizes(model: ShardModel) -> tuple[dict[str, int], dict[str, int]]:
    """Return rows and bytes of each table, the bytes with those of the optimizer's state."""
    rows = {spec.name: model.num_rows(spec.name) for spec in model.layout.shared_tables}
    return rows, {table: count * model.row_bytes(table) for table, count in rows.items()}


def by_label(model: ShardModel, values: Mapping[str, int]) -> Counter[str]:
    """Sum values by table over the labels that tables have."""
    own = {spec.name for spec in model.layout.shared_tables[:MAX_TABLES]}
    found = Counter[str]()
    for table, value in values.items():
        found[table if table in own else OTHER_TABLES] += value
    return found
