"""The FLJob resource itself: metadata, spec and status.

Read from YAML by `manifest`, checked as a whole by `validation`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from fljob_api import API_VERSION, KIND
from fljob_api.base import ApiModel
from fljob_api.spec import FLJobSpec
from fljob_api.status import FLJobStatus

MAX_NAME = 63
NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"  # as for a Service, which starts with a letter


class ObjectMeta(BaseModel):
    """The parts of metav1.ObjectMeta that FLJob reads; others pass through untouched."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    name: Annotated[str, StringConstraints(pattern=NAME_PATTERN, min_length=1, max_length=MAX_NAME)]
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    creation_timestamp: str | None = Field(None, alias="creationTimestamp")
    deletion_timestamp: str | None = Field(None, alias="deletionTimestamp")


class FLJob(ApiModel):
    """One FLJob object."""

    api_version: Literal["fljob.dev/v1alpha1"] = API_VERSION
    kind: Literal["FLJob"] = KIND
    metadata: ObjectMeta
    spec: FLJobSpec
    status: FLJobStatus = Field(default_factory=FLJobStatus)

    @property
    def key(self) -> str:
        """Return namespace/name."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    def to_manifest(self) -> dict[str, Any]:
        """Return the object without its status, as a person would write it."""
        value = self.to_dict()
        value.pop("status", None)
        value["metadata"] = self.metadata.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return value
