"""What is there now, as values: read by `observe`, decided on by `reconcile` and the policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fljob_api.progress import Progress


@dataclass(frozen=True)
class PodView:
    """One pod. trouble: a reason and the kubelet's, scheduler's or API server's own words; empty when it is well."""

    child: str
    role: str
    trainer: str = ""
    phase: str = "Pending"
    ready: bool = False
    deleting: bool = False
    trouble_reason: str = ""
    trouble: str = ""
    exit_code: int | None = None
    out_of_memory: bool = False
    memory_limit: str = ""
    message: str = ""


@dataclass(frozen=True)
class JobView:
    """One child Job. trouble: why it has no pod (forbidden, quota), in the API server's words."""

    name: str
    role: str
    trainer: str = ""
    uid: str = ""
    incarnation: int = 0
    complete: bool = False
    failed: bool = False
    fail_reason: str = ""
    fail_message: str = ""
    failed_pods: int = 0
    deleting: bool = False
    trouble_reason: str = ""
    trouble: str = ""


@dataclass(frozen=True)
class Observed:
    """Everything that one reconcile looks at.

    hashes: (kind, name) -> applied hash of present children of this very FLJob (by uid); foreign: children of a former
    FLJob of this name that are not gone yet; secrets: names present, None when they were not looked up this time;
    authority_lost: certificates are missing, others are there, and no authority or another one than theirs;
    claim_present: None where no claim is used; fold_progress: whether enough time has passed since the last fold;
    resync: apply again even what seems unchanged.
    """

    hashes: Mapping[tuple[str, str], str] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()
    jobs: Mapping[str, JobView] = field(default_factory=dict)
    pods: tuple[PodView, ...] = ()
    secrets: frozenset[str] | None = None
    authority_lost: bool = False
    claim_present: bool | None = None
    progress: Progress | None = None
    fold_progress: bool = True
    resync: bool = False

    def pods_of(self, child: str) -> tuple[PodView, ...]:
        """Return the pods of one child Job."""
        return tuple(pod for pod in self.pods if pod.child == child)
