"""JobConfig: everything that a container needs to know about its job, in one JSON file.

Written by the operator into an immutable ConfigMap (one per incarnation) and by `fljob run` into its run
folder; read by the three programs at start. Who a process is (its role and name) comes by flags.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from fljob_api.base import ApiModel
from fljob_api.spec import FLJobSpec, TlsMode

Address = Annotated[str, StringConstraints(pattern=r"^[^\s:]+:[0-9]{1,5}$", max_length=260)]


class KubernetesTarget(ApiModel):
    """Where the coordinator of a cluster job writes progress and reads the FLJob's mutable fields."""

    namespace: str
    name: str
    progress_config_map: str


class JobConfig(ApiModel):
    """One job at one incarnation."""

    VERSION: ClassVar[int] = 1

    version: int = Field(1, ge=1, le=1)
    name: str
    namespace: str = "default"
    uid: str
    incarnation: int = Field(0, ge=0)
    spec: FLJobSpec
    coordinator: Address
    servers: list[Address] = Field(min_length=1, max_length=16)
    kubernetes: KubernetesTarget | None = Field(None, description="Absent in a local run.")

    @property
    def tls_enabled(self) -> bool:
        """Whether every connection of the job needs the job's certificates."""
        return self.spec.security.tls is TlsMode.ENABLED

    @classmethod
    def read(cls, path: Path) -> JobConfig:
        """Read the file; raises OSError, json.JSONDecodeError or pydantic.ValidationError."""
        return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))

    def to_json(self) -> str:
        """Return the file's text: stable key order, so equal configurations are equal bytes."""
        return json.dumps(self.to_dict(), indent=1, sort_keys=True)
