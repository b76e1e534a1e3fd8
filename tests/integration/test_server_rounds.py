"""Rounds over the wire: pull, push, commit, restore, with one shard and with several."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.errors import BusyError, NotReadyError, StaleError, UnreachableError
from fljob_runtime.messages import AcceptedUpdate
from fljob_runtime.parameters import ModelLayout, ModelState, ParamSpec
from fljob_runtime.server.shard import Named
from fljob_runtime.transport import server_client
from fljob_runtime.transport.server_client import ServerClient
from support.shards import DEADLINE_S, NUM_ITEMS, Servers, credentials, initial, update

ALL = np.arange(NUM_ITEMS)


@pytest.fixture(params=[1, 3])
def servers(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Shards with version 0, all zero."""
    with Servers.start(tmp_path, request.param) as started:
        started.round(0, {"a": initial()})
        yield started


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Servers]:
    """One shard with version 0, all zero."""
    with Servers.start(tmp_path) as started:
        started.round(0, {"a": initial()})
        yield started


def test_what_two_trainers_push_is_pulled_as_its_mean(servers: Servers) -> None:
    servers.round(1, {"a": update(1.0, {3: 2.0, 5: 8.0}), "b": update(3.0, {3: 4.0})})
    state = servers.trainer("c").pull(1, {"items": ALL}, deadline_s=DEADLINE_S)
    assert state.dense["weight"].tolist() == [[2.0] * 3] * 2
    expected = np.zeros(NUM_ITEMS)
    expected[[3, 5]] = 3.0, 8.0
    assert state.rows["items"].values[:, 0].tolist() == expected.tolist()


def test_only_the_rows_asked_for_are_pulled(servers: Servers) -> None:
    servers.round(1, {"a": update(1.0, dict(enumerate(range(NUM_ITEMS))))})
    rows = servers.trainer("a").pull(1, {"items": np.array([4, 7, 31])}, deadline_s=DEADLINE_S).rows["items"]
    assert (rows.ids.tolist(), rows.values[:, 0].tolist()) == ([4, 7, 31], [4.0, 7.0, 31.0])


def test_rows_are_pulled_in_requests_of_bounded_size(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    servers.round(1, {"a": update(1.0, dict(enumerate(range(NUM_ITEMS))))})
    monkeypatch.setattr(server_client, "MOST_IDS", 7)
    rows = servers.trainer("a").pull(1, {"items": ALL}, deadline_s=DEADLINE_S).rows["items"]
    assert rows.values[:, 0].tolist() == list(range(NUM_ITEMS))


def test_rows_alone_can_be_pulled(servers: Servers) -> None:
    state = servers.trainer("a").pull(0, {"items": ALL}, dense=False, deadline_s=DEADLINE_S)
    assert (dict(state.dense), len(state.rows["items"])) == ({}, NUM_ITEMS)


def test_the_former_version_is_readable_until_it_is_released(servers: Servers) -> None:
    servers.round(1, {"a": update(1.0, {3: 2.0})})
    state = servers.trainer("a").pull(0, {"items": ALL}, deadline_s=DEADLINE_S)
    assert not state.dense["bias"].any()
    assert not state.rows["items"].values.any()


def test_a_released_version_is_stale(servers: Servers) -> None:
    servers.round(1, {"a": update(1.0)}, release=[0])
    with pytest.raises(StaleError, match="version 0 is gone"):
        servers.trainer("a").pull(0, {}, deadline_s=DEADLINE_S)


def test_a_version_to_come_is_waited_for(servers: Servers) -> None:
    pulled: list[float] = []

    def pull() -> None:
        pulled.append(float(servers.trainer("b").pull(1, {}, deadline_s=DEADLINE_S).dense["bias"][0]))

    waiting = threading.Thread(target=pull)
    waiting.start()
    servers.round(1, {"a": update(7.0)})
    waiting.join(DEADLINE_S)
    assert pulled == [7.0]


def test_the_wait_for_a_version_has_an_end_and_says_what_it_was_for(server: Servers) -> None:
    with pytest.raises(NotReadyError, match=r"pull of version 9 from shard 0 .* \(given up after 0.2 s\)"):
        server.trainer("a").pull(9, {}, deadline_s=0.2)


def test_a_missing_update_is_named_by_every_shard(servers: Servers) -> None:
    receipts = servers.trainer("a").push(1, 0, update(1.0), 1, deadline_s=DEADLINE_S)
    lost = [AcceptedUpdate("a", 0, receipts), AcceptedUpdate("b", 0, receipts)]
    results = servers.coordinator().commit(1, lost, deadline_s=DEADLINE_S)
    assert [result.missing for result in results] == [("b",)] * len(servers.shards)


def test_a_repeated_push_gets_the_same_receipts(servers: Servers) -> None:
    client = servers.trainer("a")
    receipts = [client.push(1, 0, update(1.0, {3: 1.0}), 1, deadline_s=DEADLINE_S) for _ in range(2)]
    assert receipts[0] == receipts[1]


def test_an_update_is_pushed_again_to_shards_of_which_one_has_committed_it(tmp_path: Path) -> None:
    with Servers.start(tmp_path, 3) as servers:
        servers.round(0, {"a": initial()})
        client = servers.trainer("a")
        first = client.push(1, 0, update(1.0, {3: 1.0}), 1, deadline_s=DEADLINE_S)
        servers.shards[0].commit(1, [Named("a", 0, first[0].digest)], checkpoint=False)
        again = client.push(1, 0, update(1.0, {3: 1.0}), 1, deadline_s=DEADLINE_S)
        assert [receipt.digest for receipt in again] == [receipt.digest for receipt in first]
        results = servers.coordinator().commit(1, [AcceptedUpdate("a", 0, again)], deadline_s=DEADLINE_S)
        assert [result.missing for result in results] == [()] * 3
        assert client.pull(1, {}, deadline_s=DEADLINE_S).dense["bias"].tolist() == [1.0] * 3


def test_a_restarted_server_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    with Servers.start(tmp_path, 2) as before:
        before.round(0, {"a": initial()})
        before.round(1, {"a": update(5.0, {3: 6.0})}, checkpoint=True)
        saved = before.written()
    with Servers.start(tmp_path, 2) as after:
        files = [ShardFileName(result.checkpoint, result.checkpoint_digest) for result in saved]
        after.coordinator().restore(1, files, deadline_s=DEADLINE_S)
        state = after.trainer("a").pull(1, {"items": np.array([2, 3])}, deadline_s=DEADLINE_S)
    assert state.dense["bias"].tolist() == [5.0] * 3
    assert state.rows["items"].values[:, 0].tolist() == [0.0, 6.0]


def test_a_server_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    with Servers.start(tmp_path) as first:
        address = first.addresses[0]
    client = ServerClient([address], credentials("coordinator", "coordinator"))
    boots: list[str] = []
    asking = threading.Thread(target=lambda: boots.append(client.state(deadline_s=DEADLINE_S)[0].boot_id))
    asking.start()
    with Servers.start(tmp_path, address=address, boot_id="second"):
        asking.join(DEADLINE_S)
    client.close()
    assert boots == ["second"]


def test_a_server_that_never_comes_is_given_up(tmp_path: Path) -> None:
    with Servers.start(tmp_path) as first:
        address = first.addresses[0]
    client = ServerClient([address], credentials("coordinator", "coordinator"))
    with pytest.raises(UnreachableError, match=f"state at shard 0 at {address}"):
        client.state(deadline_s=0.3)
    client.close()


def test_a_trainer_with_too_many_open_calls_is_refused_and_the_others_are_not(server: Servers) -> None:
    with server.hanging_pushes(["a"] * 3):
        with pytest.raises(BusyError, match="has 3 calls open already"):
            server.trainer("a").pull(0, {}, deadline_s=0.2)
        assert server.trainer("b").pull(0, {}, deadline_s=DEADLINE_S).dense["bias"].tolist() == [0.0] * 3


def test_128_trainers_that_fill_all_their_places_do_not_keep_the_coordinator_out(tmp_path: Path) -> None:
    trainers = [f"t{number}" for number in range(128)]
    with Servers.start(tmp_path, num_trainers=128) as server:
        server.round(0, {"t0": initial()})
        with server.hanging_pushes(trainers * 3):
            assert server.coordinator().state(deadline_s=DEADLINE_S)[0].versions == (0,)


def test_large_values_go_through_whole(tmp_path: Path) -> None:
    """3 MB of dense values: several chunks, and a spill, since the budget is 1 MiB."""
    layout = ModelLayout((ParamSpec("big", (750_000,)),))
    values = np.random.default_rng(0).normal(size=750_000).astype(np.float32)
    with Servers.start(tmp_path, 2) as servers:
        client = ServerClient(servers.addresses, credentials("trainer", "a"), layout=layout)
        receipts = client.push(0, 0, ModelState({"big": values}, {}), 1, deadline_s=DEADLINE_S)
        servers.coordinator().commit(0, [AcceptedUpdate("a", 0, receipts)], deadline_s=DEADLINE_S)
        pulled = client.pull(0, {}, deadline_s=DEADLINE_S).dense["big"]
        client.close()
    assert np.array_equal(pulled, values)


def test_an_update_from_an_older_version_is_named_with_its_round_and_its_age_is_told(tmp_path: Path) -> None:
    with Servers.start(tmp_path, 2, buffered=True) as servers:
        servers.round(0, {"a": initial()})
        stale = servers.trainer("b").push(1, 0, update(4.0, {3: 4.0}), 1, deadline_s=DEADLINE_S)
        servers.round(1, {"a": update(2.0, {3: 2.0})})
        listed = [AcceptedUpdate("b", 0, stale, round=1)]
        for _ in range(2):  # a repeated commit changes nothing, and is not counted again
            servers.coordinator().commit(2, listed, deadline_s=DEADLINE_S)
        state = servers.trainer("c").pull(2, {"items": np.array([3])}, deadline_s=DEADLINE_S)
        expected = 2.0 + 4.0 / np.sqrt(2.0)
        assert state.dense["bias"].tolist() == pytest.approx([expected] * 3)
        assert state.rows["items"].values.tolist() == [pytest.approx([expected] * 2)]
        for metrics in servers.metrics:
            lines = metrics.text().decode().splitlines()
            assert [line.split()[-1] for line in lines if "staleness_updates_sum{" in line] == ["1.0"]
