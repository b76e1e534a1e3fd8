"""Who may do what, by certificate and by claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from fljob_runtime.errors import IdentityError
from fljob_runtime.transport.identity import Gate, Identity


@dataclass
class Call:
    """What a servicer's context says about its caller."""

    uris: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    others: Sequence[bytes] = field(default_factory=lambda: [b"site-0.trainer.uid.fljob.internal"])

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        return {"x509_subject_alternative_name": [*self.others, *(uri.encode() for uri in self.uris)]}

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return [("user-agent", "x"), *(("fljob-identity", claim) for claim in self.claims)]


SECURE = Gate("uid", secure=True)
TRAINER = "fljob://uid/trainer/site-0"


def test_the_identity_is_read_from_the_certificate() -> None:
    assert SECURE.caller(Call((TRAINER,))) == Identity("uid", "trainer", "site-0")


def test_a_claim_counts_for_nothing_with_certificates() -> None:
    with pytest.raises(IdentityError, match="0 fljob:// identities"):
        SECURE.caller(Call(claims=(TRAINER,)))


def test_a_claim_is_read_where_tls_is_disabled() -> None:
    assert Gate("uid", secure=False).caller(Call(claims=(TRAINER,))).name == "site-0"


def test_two_identities_are_none() -> None:
    with pytest.raises(IdentityError, match="2 fljob:// identities"):
        SECURE.caller(Call((TRAINER, "fljob://uid/coordinator/coordinator")))


def test_another_job_is_refused() -> None:
    with pytest.raises(IdentityError, match="belongs to another job"):
        SECURE.caller(Call(("fljob://other/trainer/site-0",)))


def test_another_role_is_refused() -> None:
    with pytest.raises(IdentityError, match="only the coordinator may"):
        SECURE.require(Call((TRAINER,)), "coordinator")


def test_another_name_is_refused() -> None:
    with pytest.raises(IdentityError, match="may not speak for trainer 'site-1'"):
        SECURE.require(Call((TRAINER,)), "trainer", "site-1")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "fljob:",
        "fljob://uid",
        "fljob://uid/trainer",
        "fljob://uid/trainer/",
        "http://uid/trainer/a",
        "fljob://uid/a/b/c",
    ],
)
def test_other_uris_are_no_identities(uri: str) -> None:
    with pytest.raises(IdentityError, match="not of the form"):
        Identity.parse(uri)


def test_an_identity_is_written_as_it_is_read() -> None:
    assert str(Identity.parse(TRAINER)) == TRAINER
