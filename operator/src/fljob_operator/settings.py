"""Settings of the operator, read from the environment once, in main."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class SettingsError(ValueError):
    """A setting is missing or malformed; the message names the variable."""


@dataclass(frozen=True)
class Settings:
    """Everything that an installation may choose. Seconds where the name ends in _s."""

    runtime_image: str
    runtime_pull_policy: str = "IfNotPresent"
    watch_namespaces: tuple[str, ...] = ()
    own_namespace: str = "default"
    identity: str = "fljob-operator"
    lease_name: str = "fljob-operator"
    log_level: str = "INFO"
    http_port: int = 8080
    workers: int = 4
    resync_s: float = 60.0
    progress_interval_s: float = 10.0
    request_timeout_s: float = 15.0
    lease_duration_s: float = 15.0
    kubeconfig: Path | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read the variables FLJOB_*, POD_NAME and POD_NAMESPACE; raises SettingsError."""
        env = os.environ if env is None else env
        image = env.get("FLJOB_RUNTIME_IMAGE", "")
        if not image:
            raise SettingsError("FLJOB_RUNTIME_IMAGE must name the image that coordinators, servers and trainers run")
        namespaces = tuple(part.strip() for part in env.get("FLJOB_WATCH_NAMESPACES", "").split(",") if part.strip())
        kubeconfig = env.get("FLJOB_KUBECONFIG")
        return cls(
            runtime_image=image,
            runtime_pull_policy=env.get("FLJOB_RUNTIME_PULL_POLICY", cls.runtime_pull_policy),
            watch_namespaces=namespaces,
            own_namespace=env.get("POD_NAMESPACE", cls.own_namespace),
            identity=env.get("POD_NAME", cls.identity),
            lease_name=env.get("FLJOB_LEASE_NAME", cls.lease_name),
            log_level=env.get("FLJOB_LOG_LEVEL", cls.log_level),
            http_port=int(_number(env, "FLJOB_HTTP_PORT", cls.http_port)),
            workers=int(_number(env, "FLJOB_WORKERS", cls.workers)),
            resync_s=_number(env, "FLJOB_RESYNC_SECONDS", cls.resync_s),
            progress_interval_s=_number(env, "FLJOB_PROGRESS_INTERVAL_SECONDS", cls.progress_interval_s),
            lease_duration_s=_number(env, "FLJOB_LEASE_SECONDS", cls.lease_duration_s),
            kubeconfig=Path(kubeconfig) if kubeconfig else None,
        )


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "")
    try:
        value = float(text) if text else float(default)
    except ValueError as error:
        raise SettingsError(f"{name}={text!r} is not a number") from error
    if value <= 0:
        raise SettingsError(f"{name}={text!r} must be positive")
    return value
