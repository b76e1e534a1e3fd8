"""The doorbell without a bell: what it asks kopf for, and what it says when kopf gives up."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import kopf
import pytest

from fljob_operator.settings import Settings
from fljob_operator.wakeups import CHILDREN, SELECTOR, Wakeups, _connection, _kopf_settings


def kubeconfig(folder: Path, **user: Any) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": "https://cluster.example:6443"}}],
        "users": [{"name": "x", "user": user}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def test_children_are_filtered_by_the_server() -> None:
    selectors: Any = _kopf_settings().watching.label_selectors
    resources = [*CHILDREN, ("", "v1", "configmaps")]
    assert [selectors[resource] for resource in resources] == [SELECTOR] * len(resources)


def test_kopf_writes_nothing_of_its_own() -> None:
    settings = _kopf_settings()
    assert (settings.posting.enabled, settings.peering.standalone, settings.scanning.disabled) == (False, True, True)


def test_every_wait_of_kopf_has_a_limit() -> None:
    watching, networking = _kopf_settings().watching, _kopf_settings().networking
    limits = (watching.inactivity_timeout, watching.connect_timeout, networking.connect_timeout)
    assert (*limits, networking.request_timeout) == (45.0, 5.0, 5.0, 15.0)


async def test_a_token_is_read_each_time_that_kopf_logs_in(tmp_path: Path) -> None:
    first = await _connection(kubeconfig(tmp_path, token="one"))
    second = await _connection(kubeconfig(tmp_path, token="two"))
    assert (first.server, first.token, second.token) == ("https://cluster.example:6443", "one", "two")


async def test_a_connection_without_a_token_has_none(tmp_path: Path) -> None:
    assert (await _connection(kubeconfig(tmp_path))).token is None


async def test_outside_a_cluster_without_a_kubeconfig_it_says_so() -> None:
    with pytest.raises(Exception, match=r"[Ss]ervice host"):
        await _connection(None)


async def test_when_kopf_gives_up_it_is_said_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refused(**_: Any) -> None:
        raise PermissionError("401 Unauthorized")

    monkeypatch.setattr(kopf, "operator", refused)
    wakeups = Wakeups(Settings("runtime:1"), asyncio.get_running_loop(), lambda _, __: None)
    wakeups.start()
    await asyncio.wait_for(wakeups.failed.wait(), 30)
    wakeups.stop()
    assert "401 Unauthorized" in caplog.text


async def test_asked_to_stop_it_does_not_say_that_kopf_gave_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def watch(stop_flag: threading.Event, **_: Any) -> None:
        await asyncio.to_thread(stop_flag.wait, 10)

    monkeypatch.setattr(kopf, "operator", watch)
    wakeups = Wakeups(Settings("runtime:1"), asyncio.get_running_loop(), lambda _, __: None)
    wakeups.start()
    wakeups.stop()
    await asyncio.sleep(0)
    assert not wakeups.failed.is_set()


async def test_a_ring_crosses_into_the_loop_of_the_queue() -> None:
    rung: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
    settings = Settings("runtime:1")
    wakeups = Wakeups(settings, asyncio.get_running_loop(), lambda key, urgent: rung.put_nowait((key, urgent)))
    await asyncio.to_thread(wakeups._ring, "lab", "movies", urgent=True)
    assert await asyncio.wait_for(rung.get(), 5) == ("lab/movies", True)


@pytest.mark.parametrize(("namespace", "name"), [(None, "movies"), ("lab", None), ("lab", "")])
async def test_what_names_no_fljob_rings_nothing(namespace: str | None, name: str | None) -> None:
    rung: list[str] = []
    wakeups = Wakeups(Settings("runtime:1"), asyncio.get_running_loop(), lambda key, _: rung.append(key))
    wakeups._ring(namespace, name, urgent=True)
    await asyncio.sleep(0)
    assert rung == []
