"""Who runs in a job: one entry per process, with its names. The rest of `desired` goes through this list."""

from __future__ import annotations

from dataclasses import dataclass

from fljob_api import names
from fljob_api.fljob import FLJob
from fljob_api.roles import RoleTemplate
from fljob_api.spec import TrainerSpec


@dataclass(frozen=True)
class Member:
    """One process of a job. child: name of its Job, host and certificate; identity: its name in the certificate."""

    role: str
    child: str
    identity: str
    template: RoleTemplate
    arguments: tuple[str, ...]
    trainer: TrainerSpec | None = None


def members(job: FLJob) -> tuple[Member, ...]:
    """Return coordinator, shards and trainers, servers first: the order in which they are started."""
    name, spec = job.metadata.name, job.spec
    servers = tuple(
        Member(names.ROLE_SERVER, names.server(name, i), str(i), spec.server, ("--shard", str(i)))
        for i in range(spec.server.replicas)
    )
    coordinator = Member(names.ROLE_COORDINATOR, names.coordinator(name), names.ROLE_COORDINATOR, spec.coordinator, ())
    trainers = tuple(
        Member(names.ROLE_TRAINER, names.trainer(name, t.name), t.name, spec.trainer_template, ("--trainer", t.name), t)
        for t in spec.trainers
    )
    return (*servers, coordinator, *trainers)
