"""Certificates: who they name, what they may do, how long they hold."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from fljob_api import pki

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def authority() -> pki.Authority:
    return pki.make_authority("uid-1", now=NOW)


@pytest.fixture(scope="module")
def leaf(authority: pki.Authority) -> pki.Leaf:
    return pki.issue(authority, "trainer", "site-0", ["movies-trainer-site-0.movies-fl.ml.svc"], now=NOW)


def certificate(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def names(leaf: pki.Leaf) -> x509.SubjectAlternativeName:
    return certificate(leaf.certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_leaf_names_job_role_and_process(leaf: pki.Leaf) -> None:
    assert names(leaf).get_values_for_type(x509.UniformResourceIdentifier) == ["fljob://uid-1/trainer/site-0"]


def test_leaf_has_its_dns_names_and_the_one_that_clients_check(leaf: pki.Leaf) -> None:
    assert names(leaf).get_values_for_type(x509.DNSName) == [
        "site-0.trainer.uid-1.fljob.internal",
        "movies-trainer-site-0.movies-fl.ml.svc",
    ]


def test_leaf_is_signed_by_its_authority(authority: pki.Authority, leaf: pki.Leaf) -> None:
    certificate(leaf.certificate).verify_directly_issued_by(certificate(authority.certificate))


def test_leaf_is_not_signed_by_another_job_of_the_same_uid(leaf: pki.Leaf) -> None:
    other = certificate(pki.make_authority("uid-1").certificate)
    with pytest.raises(InvalidSignature):
        certificate(leaf.certificate).verify_directly_issued_by(other)


def test_leaf_cannot_sign_others(leaf: pki.Leaf) -> None:
    extensions = certificate(leaf.certificate).extensions
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_leaf_serves_and_calls(leaf: pki.Leaf) -> None:
    usage = certificate(leaf.certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_authority_cannot_make_other_authorities(authority: pki.Authority) -> None:
    constraints = certificate(authority.certificate).extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)


def test_authority_outlives_a_job_by_years(authority: pki.Authority) -> None:
    assert certificate(authority.certificate).not_valid_after_utc == NOW + dt.timedelta(days=3653)


def test_leaf_holds_a_year_and_bears_an_hour_of_clock_skew(leaf: pki.Leaf) -> None:
    read = certificate(leaf.certificate)
    assert read.not_valid_before_utc == NOW - dt.timedelta(hours=1)
    assert read.not_valid_after_utc == NOW + dt.timedelta(days=366)


def test_keys_are_on_the_p256_curve_and_differ(authority: pki.Authority, leaf: pki.Leaf) -> None:
    keys = [serialization.load_pem_private_key(pem, None) for pem in (authority.key, leaf.key)]
    assert [key.curve.name for key in keys if isinstance(key, ec.EllipticCurvePrivateKey)] == ["secp256r1"] * 2
    assert authority.key != leaf.key


def test_files_are_those_of_the_secret(leaf: pki.Leaf) -> None:
    assert sorted(leaf.files()) == ["ca.crt", "tls.crt", "tls.key"]


def test_a_name_longer_than_x509_allows_is_cut_in_the_subject_only(authority: pki.Authority) -> None:
    long = pki.issue(authority, "trainer", "s" * 63)
    assert names(long).get_values_for_type(x509.UniformResourceIdentifier) == [f"fljob://uid-1/trainer/{'s' * 63}"]


def test_an_authority_of_another_kind_is_refused(authority: pki.Authority) -> None:
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ValueError, match="elliptic-curve"):
        pki.issue(pki.Authority("uid-1", authority.certificate, key), "trainer", "a")
