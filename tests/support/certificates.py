"""Certificates of the test control plane: one authority, short-lived, in a folder of the test."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def _name(common: str, organization: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organization:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    path.chmod(0o600)


@dataclass(frozen=True)
class Authority:
    """A certificate authority whose files lie in `folder`: ca.crt and, per name, <name>.crt and <name>.key."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, folder: Path) -> Authority:
        """Make the authority and write ca.crt and ca.key."""
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name("fljob-test-ca"), _name("fljob-test-ca"), key.public_key())
        certificate = builder.add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())
        (folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(folder / "ca.key", key)
        return cls(folder, key, certificate)

    @property
    def ca(self) -> Path:
        """Return the path of ca.crt."""
        return self.folder / "ca.crt"

    def issue(self, file: str, common: str, organization: str = "", hosts: tuple[str, ...] = ()) -> tuple[Path, Path]:
        """Write <file>.crt and <file>.key for a client, or for a server with these host names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(common, organization), self.certificate.subject, key.public_key())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), False)
        certificate = builder.sign(self.key, hashes.SHA256())
        crt, pem = self.folder / f"{file}.crt", self.folder / f"{file}.key"
        crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(pem, key)
        return crt, pem

    def service_account_key(self) -> Path:
        """Write sa.key, the RSA key that signs service-account tokens."""
        path = self.folder / "sa.key"
        _write_key(path, rsa.generate_private_key(public_exponent=65537, key_size=2048))
        return path


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=7))
    )
