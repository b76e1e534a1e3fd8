"""Settings come from the environment, and one that is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from fljob_operator.settings import Settings, SettingsError

IMAGE = {"FLJOB_RUNTIME_IMAGE": "registry/runtime:1"}


def test_an_image_is_enough() -> None:
    assert Settings.from_env(IMAGE) == Settings("registry/runtime:1")


def test_without_an_image_its_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="FLJOB_RUNTIME_IMAGE"):
        Settings.from_env({})


def test_every_variable_is_read() -> None:
    env = {
        "FLJOB_RUNTIME_PULL_POLICY": "Always",
        "FLJOB_WATCH_NAMESPACES": "a, b,,",
        "FLJOB_KUBECONFIG": "/etc/kubeconfig",
        "FLJOB_LEASE_NAME": "lease",
        "FLJOB_LOG_LEVEL": "DEBUG",
        "FLJOB_HTTP_PORT": "9090",
        "FLJOB_WORKERS": "8",
        "FLJOB_RESYNC_SECONDS": "300",
        "FLJOB_PROGRESS_INTERVAL_SECONDS": "0.5",
        "FLJOB_LEASE_SECONDS": "30",
        "POD_NAME": "operator-0",
        "POD_NAMESPACE": "system",
    }
    assert Settings.from_env({**IMAGE, **env}) == Settings(
        runtime_image="registry/runtime:1",
        runtime_pull_policy="Always",
        watch_namespaces=("a", "b"),
        own_namespace="system",
        identity="operator-0",
        lease_name="lease",
        log_level="DEBUG",
        http_port=9090,
        workers=8,
        resync_s=300.0,
        progress_interval_s=0.5,
        lease_duration_s=30.0,
        kubeconfig=Path("/etc/kubeconfig"),
    )


@pytest.mark.parametrize("text", ["many", "0", "-1"])
def test_a_number_that_is_none_or_not_positive_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match=f"FLJOB_WORKERS='{text}'"):
        Settings.from_env({**IMAGE, "FLJOB_WORKERS": text})


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLJOB_RUNTIME_IMAGE", "from/process:1")
    assert Settings.from_env().runtime_image == "from/process:1"
