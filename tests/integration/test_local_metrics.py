"""What the servers of real jobs export while these run: every series moves that its mode has."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from integration.local_jobs import LocalJob, job
from integration.test_local_modes import modal

from fljob_api.metric_names import SERVER
from fljob_api.progress import Outcome, RoundState
from support.exposition import scrape
from support.processes import free_port

EVERY_S, PATIENCE_S = 0.03, 5.0
SLOW = "trainer-site-1"
Samples = dict[str, float]
_OF_TROUBLE = {"fljob_server_rejected_total", "fljob_server_spilled_bytes_total", "fljob_server_stale_dropped_total"}
_OF_MODES = {
    "fljob_server_calls",
    "fljob_server_exchange_seconds",
    "fljob_server_staleness_updates",
    "fljob_server_waiting_contributions",
}
_OF_KEYED = {"fljob_server_keyed_rows_total"}


@dataclass
class Watched:
    """A job whose server 0 is scraped while it runs: the most that each sample came to.

    One trainer is stopped in the second round until `seen` says that the samples show it, for PATIENCE_S at most.
    """

    run: LocalJob
    seen: Callable[[Samples], bool]
    flags: tuple[str, ...] = ()
    most: Samples = field(default_factory=dict)

    def finish(self) -> Samples:
        """Run the job to its end; returns the most of each sample."""
        port = free_port()
        programs = self.run.supervisor.programs
        server = programs["server-0"]
        programs["server-0"] = replace(server, arguments=(*server.arguments, "--http-port", str(port), *self.flags))
        stopped = threading.Event()

        def stop() -> None:
            self.run.kill(SLOW, signal.SIGSTOP)
            stopped.set()

        self.run.once(RoundState.TRAINING, 1, stop)
        with self._scraping(port, stopped):
            finish = self.run.run()
        assert finish.outcome is Outcome.SUCCEEDED, finish
        return self.most

    @contextlib.contextmanager
    def _scraping(self, port: int, stopped: threading.Event) -> Iterator[None]:
        ended = threading.Event()
        thread = threading.Thread(target=self._scrape, args=(port, stopped, ended))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(10)

    def _scrape(self, port: int, stopped: threading.Event, ended: threading.Event) -> None:
        at_stop: Samples = {}
        until = float("inf")
        while not ended.wait(EVERY_S):
            now = scrape(port)
            self.most.update({name: max(value, self.most.get(name, 0.0)) for name, value in now.items()})
            if stopped.is_set() and now:
                at_stop, until = at_stop or now, min(until, time.monotonic() + PATIENCE_S)
                since = {name: value - at_stop.get(name, 0.0) for name, value in now.items()}
                now["exchanges since"] = since["fljob_server_exchange_seconds_count"]
                if time.monotonic() > until or self.seen(now):
                    self.run.kill(SLOW, signal.SIGCONT)
                    stopped.clear()


def families(most: Samples) -> set[str]:
    """Return the metrics of the server that have a sample above 0."""
    names = {sample.partition("{")[0] for sample, value in most.items() if value > 0}
    suffixes = {"histogram": "_count"}
    return {row.name for row in SERVER if row.name + suffixes.get(row.kind, "") in names}


ALL = {row.name for row in SERVER}


def test_every_series_of_a_sync_job_moves(tmp_path: Path) -> None:
    watched = Watched(LocalJob(job(), tmp_path), lambda now: now["fljob_server_staged_updates"] == 2)
    most = watched.finish()
    assert ALL - _OF_TROUBLE - _OF_MODES - _OF_KEYED - families(most) == set()
    assert most["fljob_server_version"] >= 1  # the last commits may come after the last scrape
    assert most["fljob_server_folded_updates_total"] >= 1 + 3
    assert most['fljob_server_table_rows{table="item_embedding.mlp.weight"}'] == 60


def test_an_async_job_counts_exchanges_staleness_and_what_is_left_out(tmp_path: Path) -> None:
    tables = [{"name": "item_embedding", "keys": "Any"}]
    spec = modal("Async", {"localEpochs": 2, "maxStaleness": 3}, rounds=2, tables=tables)
    most = Watched(LocalJob(spec, tmp_path), lambda now: now["exchanges since"] > 8).finish()
    wanted = ALL - {"fljob_server_rejected_total", "fljob_server_spilled_bytes_total"}
    transient = {"fljob_server_calls", "fljob_server_waiting_contributions"}  # nothing waits in Async
    transient |= {"fljob_server_staged_updates", "fljob_server_staged_bytes", "fljob_server_memory_bytes"}
    assert wanted - transient - families(most) == set()
    assert most['fljob_server_staleness_updates_sum{mode="Async"}'] > 0


def test_contributions_to_a_step_wait_for_the_slowest(tmp_path: Path) -> None:
    waiting = "fljob_server_waiting_contributions"
    spec = modal("StepSync", {"localEpochs": 1}, rounds=2)
    most = Watched(LocalJob(spec, tmp_path), lambda now: now[waiting] == 2).finish()
    assert most[waiting] == 2
    assert most['fljob_server_calls{call="exchange"}'] >= 2


def test_compressed_updates_are_a_part_of_what_they_stand_for_and_may_be_held_in_files(tmp_path: Path) -> None:
    run = LocalJob(job(strategy={"localEpochs": 2, "batchSize": 20, "compression": [{"name": "int8"}]}), tmp_path)
    most = Watched(run, lambda now: now["fljob_server_staged_updates"] == 2, ("--memory-bytes", "1")).finish()
    assert most["fljob_server_plain_bytes_total"] > 1.3 * most["fljob_server_received_bytes_total"]
    assert most["fljob_server_spilled_bytes_total"] >= most["fljob_server_plain_bytes_total"]
