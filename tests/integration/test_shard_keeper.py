"""The coordinator's shard keeper against real shards: restore, commit, checkpoints, a shard started anew."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fljob_api.exit_codes import ExitCode
from fljob_runtime.checkpoints.store import FolderStore
from fljob_runtime.messages import AcceptedUpdate
from fljob_runtime.roles.shards import Limits, ShardKeeper
from fljob_runtime.rounds.values import (
    Commit,
    CommitDone,
    CommitMissing,
    DoCommit,
    Durable,
    Event,
    Restore,
    Restored,
    Save,
    Saved,
    ShardLost,
    Unrecoverable,
)
from support.shards import DEADLINE_S, LAYOUT, UID, Servers, SlowDisk, initial, update


class Kept:
    """A keeper, its shards, and the events that it sent."""

    def __init__(self, servers: Servers, root: Path, *, store: bool = True) -> None:
        self.servers = servers
        self.store = store
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.keeper = ShardKeeper(
            servers.coordinator(),
            FolderStore(root, UID, {}) if store else None,
            num_shards=len(servers.addresses),
            emit=self.events.put,
            limits=Limits(reach_s=5.0, state_s=0.5),
        )
        self.keeper.start()

    def ask(self, task: Restore | DoCommit | Save) -> Event:
        self.keeper.submit(task)
        return self.events.get(timeout=DEADLINE_S)

    def committed(self, round_number: int, *, checkpoint: bool = True) -> Event:
        state = update(1.0) if round_number else initial()
        receipts = self.servers.trainer("a").push(round_number, 1, state, 1, deadline_s=DEADLINE_S)
        listed = (AcceptedUpdate("a", 1, receipts),)
        done = self.ask(DoCommit(round_number, listed, checkpoint, ()))
        durable = checkpoint and self.store and done == CommitDone(round_number, False)
        return self.events.get(timeout=DEADLINE_S) if durable else done


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    with Servers.start(tmp_path, 2) as servers:
        made = Kept(servers, tmp_path)
        yield made
        made.keeper.stop(None)


def test_new_shards_need_nothing(kept: Kept) -> None:
    assert kept.ask(Restore(-1)) == Restored(-1)


def test_a_commit_with_checkpoint_is_durable(kept: Kept) -> None:
    assert [kept.committed(0), kept.committed(1, checkpoint=False)] == [Durable(0), CommitDone(1, False)]


def test_the_next_checkpoint_waits_for_the_one_before(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk(monkeypatch)
    receipts = [kept.servers.trainer("a").push(0, 1, initial(), 1, deadline_s=DEADLINE_S)]
    assert kept.ask(DoCommit(0, (AcceptedUpdate("a", 1, receipts[0]),), True, ())) == CommitDone(0, False)
    receipts.append(kept.servers.trainer("a").push(1, 1, update(1.0), 1, deadline_s=DEADLINE_S))
    kept.keeper.submit(DoCommit(1, (AcceptedUpdate("a", 1, receipts[1]),), True, ()))
    assert disk.reached.wait(DEADLINE_S)
    with pytest.raises(queue.Empty):
        kept.events.get(timeout=0.3)
    disk.go_on.set()
    assert [kept.events.get(timeout=DEADLINE_S) for _ in range(3)] == [Durable(0), CommitDone(1, False), Durable(1)]


def test_a_shard_started_anew_while_the_next_checkpoint_waits_is_noticed(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)
    kept.ask(Restore(-1))
    for number, state in enumerate((initial(), update(1.0))):
        receipts = kept.servers.trainer("a").push(number, 1, state, 1, deadline_s=DEADLINE_S)
        kept.keeper.submit(DoCommit(number, (AcceptedUpdate("a", 1, receipts),), True, ()))
        assert disk.reached.wait(DEADLINE_S)
        if number == 0:
            assert kept.events.get(timeout=DEADLINE_S) == CommitDone(0, False)
    kept.servers.shards[1].config = replace(kept.servers.shards[1].config, boot_id="another")
    assert isinstance(kept.events.get(timeout=DEADLINE_S), ShardLost)
    disk.go_on.set()


def test_what_cannot_be_written_ends_the_job_with_the_reason(kept: Kept, tmp_path: Path) -> None:
    kept.committed(0)
    (tmp_path / UID / "1").write_text("in the way")
    event = kept.committed(1)
    assert isinstance(event, Unrecoverable)
    assert event.exit_code is ExitCode.CHECKPOINT_UNUSABLE
    assert "shard 0: cannot write" in event.message
    assert "/1/" in event.message


def test_a_keeper_that_is_stopped_makes_durable_what_is_being_written(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)
    receipts = kept.servers.trainer("a").push(0, 1, initial(), 1, deadline_s=DEADLINE_S)
    kept.ask(DoCommit(0, (AcceptedUpdate("a", 1, receipts),), True, ()))
    threading.Timer(0.3, disk.go_on.set).start()
    kept.keeper.stop(None)
    assert [manifest.version for manifest in FolderStore(tmp_path, UID, {}).durable(0)] == [0]


def test_versions_in_memory_are_used_as_they_are(kept: Kept) -> None:
    kept.committed(0, checkpoint=False)
    assert kept.ask(Restore(0)) == Restored(0)


def test_a_version_that_is_gone_falls_back_to_the_newest_durable_one(kept: Kept) -> None:
    kept.committed(0)
    kept.committed(1)
    assert kept.ask(Restore(5)) == Restored(1)


def test_a_torn_checkpoint_falls_back_to_the_one_before(kept: Kept, tmp_path: Path) -> None:
    kept.committed(0)
    kept.committed(1)
    kept.committed(2, checkpoint=False)
    kept.servers.coordinator().restore(-1, (), deadline_s=DEADLINE_S)
    (tmp_path / UID / "1" / "shard-1-of-2.safetensors").write_bytes(b"torn")
    assert kept.ask(Restore(2)) == Restored(0)


def test_shards_of_another_number_fall_back_together_when_one_file_is_torn(kept: Kept, tmp_path: Path) -> None:
    kept.committed(0)
    kept.committed(1)
    kept.committed(2)
    (tmp_path / UID / "2" / "shard-1-of-2.safetensors").write_bytes(b"torn")
    (tmp_path / UID / "1" / "shard-0-of-2.safetensors").unlink()
    with Servers.start(tmp_path, 3) as servers:
        more = Kept(servers, tmp_path)
        assert more.ask(Restore(2)) == Restored(0)
        assert more.committed(1) == Durable(1)
        more.keeper.stop(None)


def test_when_no_checkpoint_can_be_loaded_the_job_ends(kept: Kept, tmp_path: Path) -> None:
    kept.committed(0)
    kept.servers.coordinator().restore(-1, (), deadline_s=DEADLINE_S)
    (tmp_path / UID / "0" / "shard-1-of-2.safetensors").write_bytes(b"torn")
    event = kept.ask(Restore(0))
    assert isinstance(event, Unrecoverable)
    assert event.exit_code is ExitCode.CHECKPOINT_UNUSABLE


def test_a_coordinator_without_journal_has_the_shards_forget(kept: Kept) -> None:
    kept.committed(0)
    assert kept.ask(Restore(-1)) == Restored(-1)
    assert [state.versions for state in kept.servers.coordinator().state(deadline_s=DEADLINE_S)] == [(), ()]


def test_an_update_that_no_shard_has_is_reported_missing(kept: Kept) -> None:
    kept.committed(0)
    lost = (AcceptedUpdate("b", 1, ()),)
    assert kept.ask(DoCommit(1, lost, True, ())) == CommitMissing(1, frozenset({"b"}), folded=False)


def test_saving_writes_the_last_version_and_the_model(kept: Kept, tmp_path: Path) -> None:
    receipts = kept.servers.trainer("a").push(0, 1, initial(), 1, deadline_s=DEADLINE_S)
    accepted = (AcceptedUpdate("a", 1, receipts),)
    kept.ask(DoCommit(0, accepted, False, ()))
    assert kept.ask(Save(Commit(0, tuple(u.trainer for u in accepted), accepted), assemble=True)) == Durable(0)
    saved = kept.events.get(timeout=DEADLINE_S)
    assert isinstance(saved, Saved)
    assert saved.durable
    assert (tmp_path / saved.model).stat().st_size > LAYOUT.dense_size * 4


def test_without_a_store_nothing_is_durable(tmp_path: Path) -> None:
    with Servers.start(tmp_path, 1) as servers:
        kept = Kept(servers, tmp_path, store=False)
        assert kept.committed(0) == CommitDone(0, False)
        kept.keeper.stop(None)


def test_a_shard_started_anew_is_noticed(kept: Kept) -> None:
    kept.ask(Restore(-1))
    shard = kept.servers.shards[1]
    shard.config = replace(shard.config, boot_id="another")
    assert isinstance(kept.events.get(timeout=DEADLINE_S), ShardLost)


def test_shards_that_do_not_answer_end_the_wait_with_a_name(tmp_path: Path) -> None:
    with Servers.start(tmp_path, 1) as servers:
        kept = Kept(servers, tmp_path)
        servers.services[0].stop(0.0)
        event = kept.ask(Restore(0))
        kept.keeper.stop(None)
    assert isinstance(event, Unrecoverable)
    assert (event.exit_code, "within 5 s" in event.message) == (ExitCode.STARTUP_TIMEOUT, True)
