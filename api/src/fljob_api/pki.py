"""Certificates of a job: one authority per job, one certificate per process. PEM bytes in, PEM bytes out.

Used by the operator (Secrets) and the local backend (files). Nothing is written anywhere here. A leaf outlives most
jobs; for those that run on, the operator makes new ones (policies.renewal).
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fljob_api import names

AUTHORITY_LIFETIME = dt.timedelta(days=3653)
LEAF_LIFETIME = dt.timedelta(days=366)
CLOCK_SKEW = dt.timedelta(hours=1)
_MAX_COMMON_NAME = 64


@dataclass(frozen=True)
class Authority:
    """A job's certificate authority; the key belongs in a Secret that no pod mounts."""

    uid: str
    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class Leaf:
    """One process's certificate, its key, and the authority's certificate to check peers by."""

    authority_certificate: bytes
    certificate: bytes
    key: bytes

    def files(self) -> dict[str, bytes]:
        """Return file name → PEM: the keys of the Secret, the files of the TLS folder."""
        return {
            names.CA_CERT_FILE: self.authority_certificate,
            names.CERT_FILE: self.certificate,
            names.KEY_FILE: self.key,
        }


def make_authority(
    uid: str, *, now: dt.datetime | None = None, lifetime: dt.timedelta = AUTHORITY_LIFETIME
) -> Authority:
    """Make a new authority (ECDSA P-256) for the job with this uid."""
    start = now or dt.datetime.now(dt.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"fljob {uid}")
    certificate = (
        _builder(name, name, key.public_key(), start, lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(uid, _pem(certificate), _key_pem(key))


def issue(
    authority: Authority,
    role: str,
    name: str,
    dns_names: Sequence[str] = (),
    *,
    now: dt.datetime | None = None,
    lifetime: dt.timedelta = LEAF_LIFETIME,
) -> Leaf:
    """Issue the certificate of one process: URI SAN fljob://uid/role/name, and its DNS names.

    `dns_names` come besides `names.tls_host`, which is the one our clients check. Raises ValueError where the
    authority's PEM cannot be read.
    """
    start = now or dt.datetime.now(dt.UTC)
    issuer, issuer_key = _read(authority.certificate, authority.key)
    key = ec.generate_private_key(ec.SECP256R1())
    hosts = [names.tls_host(authority.uid, role, name), *dns_names]
    alternatives: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(names.identity(authority.uid, role, name)),
        *(x509.DNSName(host) for host in hosts),
    ]
    certificate = (
        _builder(_name(f"{role} {name}"), issuer.subject, key.public_key(), start, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return Leaf(authority.certificate, _pem(certificate), _key_pem(key))


@functools.lru_cache(maxsize=8)
def _read(certificate: bytes, key: bytes) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Parse an authority once for all the certificates that it issues."""
    loaded = serialization.load_pem_private_key(key, None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ValueError(  # noqa: TRY004 - bad content of a file, not a bad argument
            "the authority's key is not an elliptic-curve key; make the authority again"
        )
    return x509.load_pem_x509_certificate(certificate), loaded


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    start: dt.datetime,
    lifetime: dt.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - CLOCK_SKEW)
        .not_valid_after(start + lifetime)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_MAX_COMMON_NAME])])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
