"""Pod settings that a user may give per role: the narrow template of design rule "no whole PodTemplate".

Parts of the FLJob spec; turned into pods by the operator.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from fljob_api.base import ApiModel
from fljob_api.fields import Annotations, LabelKey, Labels, LabelValue, ObjectName, Quantity, ShortText
from fljob_api.rules import Rule, list_map

_RESOURCE = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.\-/]+$", min_length=1, max_length=253)]
_RESERVED_ENV = "FLJOB_"


class Resources(ApiModel):
    """Compute resources of one container."""

    requests: dict[_RESOURCE, Quantity] | None = Field(None, max_length=8, description="What the scheduler sets aside.")
    limits: dict[_RESOURCE, Quantity] | None = Field(
        None, max_length=8, description="What the container may not exceed."
    )


class EnvVar(ApiModel):
    """One environment variable with a literal value."""

    RULES: ClassVar = (
        Rule(
            cel=f"!self.name.startsWith('{_RESERVED_ENV}')",
            message="names that start with FLJOB_ are set by the operator; choose another name",
            holds=lambda env: not env.name.startswith(_RESERVED_ENV),
            field="name",
        ),
    )
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)] = Field(
        description="Name of the variable; not FLJOB_…."
    )
    value: ShortText = Field("", description="Literal value; secrets belong into mounted volumes.")


class TolerationOperator(StrEnum):
    """How a toleration compares the value of a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class Toleration(ApiModel):
    """Lets a pod run on a node with a matching taint."""

    key: LabelKey | None = Field(None, description="Key of the taint; none: every taint.")
    operator: TolerationOperator = TolerationOperator.EQUAL
    value: LabelValue | None = Field(None, description="Value of the taint, for Equal.")
    effect: (
        Annotated[str, StringConstraints(pattern="^(NoSchedule|PreferNoSchedule|NoExecute)$", max_length=16)] | None
    ) = Field(None, description="NoSchedule, PreferNoSchedule or NoExecute; none: all of them.")
    toleration_seconds: int | None = Field(
        None, ge=0, le=31_536_000, description="How long a NoExecute taint is tolerated; none: for ever."
    )


class ImagePullPolicy(StrEnum):
    """When the kubelet pulls the image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class RoleTemplate(ApiModel):
    """Pod settings of one role; every field left out has the operator's default."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = Field(
        None, description="Image of the role; default: the operator's own runtime image."
    )
    image_pull_policy: ImagePullPolicy | None = None
    image_pull_secrets: list[ObjectName] | None = Field(
        None, max_length=8, description="Secrets of the namespace with registry credentials."
    )
    resources: Resources | None = None
    env: list[EnvVar] | None = Field(
        None,
        max_length=32,
        json_schema_extra=list_map("name"),
        description="Environment variables besides the operator's.",
    )
    node_selector: Labels | None = Field(None, description="Labels of the nodes to run on.")
    tolerations: list[Toleration] | None = Field(None, max_length=16, description="Taints that the pods put up with.")
    priority_class_name: ObjectName | None = Field(None, description="PriorityClass of the pods.")
    labels: Labels | None = Field(None, description="Added to the pods; keys under fljob.dev/ are refused.")
    annotations: Annotations | None = Field(None, description="Added to the pods.")

    RULES: ClassVar = (
        Rule(
            cel="!has(self.labels) || self.labels.all(k, "
            "!k.startsWith('fljob.dev/') && !k.startsWith('app.kubernetes.io/'))",
            message="labels under fljob.dev/ and app.kubernetes.io/ are the operator's; use another prefix",
            holds=lambda role: all(
                not key.startswith(("fljob.dev/", "app.kubernetes.io/")) for key in role.labels or {}
            ),
            field="labels",
        ),
    )


class ServerTemplate(RoleTemplate):
    """The parameter server: its shards and their pod settings."""

    replicas: int = Field(
        1,
        ge=1,
        le=16,
        description="Shards that the shared parameters are spread over; may change while the job is suspended.",
    )
