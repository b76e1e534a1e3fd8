"""When certificates are renewed, and what that does to a job; times by hand: two thirds of 366 days are 244."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fljob_api.fljob import FLJob
from fljob_operator.observed import Observed
from fljob_operator.policies import renewal
from fljob_operator.reconcile import reconcile
from support.operator_values import DEFAULTS, NOW, all_jobs, progress, running

CHECKPOINT = {"persistentVolumeClaim": {"claimName": "ckpt"}}
OLD = NOW - timedelta(minutes=1) + timedelta(days=244)  # `running` was started a minute before NOW
DURABLE = Observed(jobs=all_jobs(), claim_present=True, progress=progress(checkpoint="version 3"))


def old(**changes: Any) -> FLJob:
    return running(**{"checkpoint": CHECKPOINT, **changes})


def test_certificates_are_renewed_at_two_thirds_of_their_life() -> None:
    assert renewal.due(old(), DURABLE, OLD)
    assert not renewal.due(old(), DURABLE, OLD - timedelta(seconds=1))


def test_short_lives_are_renewed_soon() -> None:
    assert renewal.due(old(), DURABLE, NOW, after_s=60.0)
    assert not renewal.due(old(), DURABLE, NOW, after_s=61.0)


@pytest.mark.parametrize(
    ("changes", "observed"),
    [
        ({"checkpoint": None}, DURABLE),
        ({"security": {"tls": "Disabled"}}, DURABLE),
        ({}, Observed(jobs=all_jobs(), claim_present=True, progress=progress())),
        ({}, Observed(jobs=all_jobs(), claim_present=True)),
    ],
)
def test_what_a_restart_would_lose_or_needs_no_certificate_is_left_alone(
    changes: dict[str, Any], observed: Observed
) -> None:
    assert not renewal.due(old(**changes), observed, OLD)


def test_a_renewal_stops_the_pods_and_begins_the_next_incarnation() -> None:
    decision = reconcile(old(), DURABLE, OLD, DEFAULTS)
    assert {doomed.name for doomed in decision.delete} == set(all_jobs())
    assert (decision.status.incarnation, decision.certificates, decision.create) == (2, (), ())
    (ready,) = [c for c in decision.status.conditions if c.type == "ResourcesReady"]
    assert (ready.status, ready.reason) == ("False", "CertificatesRenewed")
    assert "CertificatesRenewed" in {event.reason for event in decision.events}


def test_the_next_incarnation_has_new_certificates_and_is_young() -> None:
    first = reconcile(old(), DURABLE, OLD, DEFAULTS)
    job = old().model_copy(update={"status": first.status})
    then = Observed(claim_present=True, secrets=frozenset())
    second = reconcile(job, then, OLD + timedelta(seconds=5), DEFAULTS)
    assert (second.status.incarnation, len(second.certificates), second.delete) == (2, 4, ())
    made = {m["metadata"]["name"] for m in second.create if m["kind"] == "Job"}
    assert made == set(all_jobs())
    again = Observed(jobs=all_jobs(), claim_present=True, progress=progress(checkpoint="version 4", incarnation=2))
    assert not renewal.due(job, again, OLD + timedelta(days=1))


def test_time_before_a_renewal_counts_as_active() -> None:
    decision = reconcile(old(), DURABLE, OLD, DEFAULTS)
    assert decision.status.active_seconds == 244 * 86_400


def test_a_job_that_is_being_suspended_is_not_renewed() -> None:
    decision = reconcile(old(suspend=True), DURABLE, OLD, DEFAULTS)
    assert (decision.status.incarnation, decision.delete) == (1, ())
