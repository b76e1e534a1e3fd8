"""Volumes and stores: of trainers' data, of their private state, of checkpoints. Part of the spec."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from fljob_api.base import ApiModel
from fljob_api.fields import STORE_URI, SUB_PATH, ObjectName, Quantity, ShortText
from fljob_api.rules import Rule, exactly_one


class ClaimSource(ApiModel):
    """A PersistentVolumeClaim in the job's namespace."""

    claim_name: ObjectName = Field(description="Name of the PersistentVolumeClaim.")
    sub_path: Annotated[str, StringConstraints(pattern=SUB_PATH, max_length=253)] | None = Field(
        None, description="Folder of the volume, in place of its root."
    )


class ConfigMapSource(ApiModel):
    """A ConfigMap in the job's namespace whose keys are the files (small data only)."""

    name: ObjectName = Field(description="Name of the ConfigMap.")


class CsiSource(ApiModel):
    """An inline volume of a CSI driver."""

    driver: ObjectName = Field(description="Name of the CSI driver.")
    volume_attributes: dict[Annotated[str, StringConstraints(max_length=253)], ShortText] | None = Field(
        None, max_length=32, description="Passed to the driver as they are."
    )


class DataSource(ApiModel):
    """Where one trainer's data lies; mounted read-only."""

    RULES: ClassVar = (exactly_one("persistentVolumeClaim", "configMap", "csi"),)
    persistent_volume_claim: ClaimSource | None = None
    config_map: ConfigMapSource | None = None
    csi: CsiSource | None = None


class StorageSource(ApiModel):
    """Where a trainer keeps its private state between restarts."""

    persistent_volume_claim: ClaimSource


class VolumeClaimTemplate(ApiModel):
    """A claim that the operator makes and leaves behind, so that the model outlives the job."""

    storage_class_name: ObjectName | None = Field(None, description="Default: the cluster's default class.")
    storage: Quantity = Field(description="Size of the volume, such as 1Gi.")


class SecretRef(ApiModel):
    """A Secret in the job's namespace whose keys become environment variables."""

    name: ObjectName = Field(description="Name of the Secret.")


class Checkpoint(ApiModel):
    """Where committed rounds are made durable: a volume or a store. It is never owned by the job."""

    RULES: ClassVar = (
        exactly_one("persistentVolumeClaim", "volumeClaimTemplate", "uri"),
        Rule(
            cel="!has(self.uri) || !self.uri.matches('^(memory|http|https)://')",
            message="memory:// is another store in each process and http:// cannot be written; name a store that "
            "coordinator and servers share, such as s3://bucket/folder",
            holds=lambda c: not re.match("^(memory|http|https)://", c.uri or ""),
            field="uri",
        ),
        Rule(
            cel="!has(self.uri) || !self.uri.matches('^[a-z0-9]+://[^/]*:[^/]*@')",
            message="a password in the uri is seen by all who may read the FLJob; give it by secretRef",
            holds=lambda c: not re.match("^[a-z0-9]+://[^/]*:[^/]*@", c.uri or ""),
            field="uri",
        ),
        Rule(
            cel="!has(self.secretRef) || has(self.uri)",
            message="secretRef holds the credentials for uri; set uri or leave it out",
            holds=lambda c: c.secret_ref is None or c.uri is not None,
            field="secretRef",
        ),
    )
    persistent_volume_claim: ClaimSource | None = None
    volume_claim_template: VolumeClaimTemplate | None = None
    uri: Annotated[str, StringConstraints(pattern=STORE_URI, max_length=512)] | None = Field(
        None,
        description="Folder of a store that fsspec has a driver for, such as s3://bucket/folder; shared by coordinator "
        "and servers, no volume is made.",
    )
    secret_ref: SecretRef | None = Field(
        None, description="Credentials for uri: its keys become environment variables of coordinator and servers."
    )
    every_rounds: int = Field(1, ge=1, le=10_000, description="Rounds from one checkpoint to the next.")
    keep: int = Field(
        2,
        ge=1,
        le=1000,
        description="Newest checkpoints kept; the best (by AUC, or Recall@20 or Accuracy) is kept besides.",
    )
