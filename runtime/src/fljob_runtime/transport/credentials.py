"""A process's certificate and what gRPC makes of it: channels to named peers, server ports, keepalive.

Loaded once by `main` from the TLS folder (or made insecure, by spec). Keepalive is set on both ends, since a
long local epoch is silent and must not lose its connection; large unary messages do not exist here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from fljob_api import names
from fljob_runtime.transport.errors import IdentityError
from fljob_runtime.transport.identity import CLAIM_KEY, Gate, Identity

CHUNK_BYTES = 1 << 20
MAX_MESSAGE_BYTES = 4 << 20
_KEEPALIVE = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
_SIZES = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)
SERVER_OPTIONS: tuple[tuple[str, Any], ...] = (
    *_KEEPALIVE,
    *_SIZES,
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.so_reuseport", 0),
)
# grpc.min_reconnect_backoff_ms stays at its 20 s: it also bounds a handshake, and 128 trainers start at once.
_CLIENT_OPTIONS: tuple[tuple[str, Any], ...] = (
    *_KEEPALIVE,
    *_SIZES,
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


@dataclass(frozen=True)
class Credentials:
    """Who this process is, with the PEM files that prove it; without them (TLS disabled) it only claims it."""

    identity: Identity
    authority: bytes = b""
    certificate: bytes = b""
    key: bytes = b""

    @classmethod
    def load(cls, folder: Path, identity: Identity) -> Credentials:
        """Read ca.crt, tls.crt and tls.key; raises IdentityError that names the file to mend."""
        pems = []
        for name in (names.CA_CERT_FILE, names.CERT_FILE, names.KEY_FILE):
            try:
                pems.append((folder / name).read_bytes())
            except OSError as error:
                raise IdentityError(f"cannot read {folder / name}: {error.strerror}") from error
        return cls(identity, *pems)

    @classmethod
    def insecure(cls, identity: Identity) -> Credentials:
        """Return credentials without certificates, for a job with security.tls Disabled."""
        return cls(identity)

    @property
    def secure(self) -> bool:
        """Whether connections are encrypted and authenticated."""
        return bool(self.certificate)

    def gate(self) -> Gate:
        """Return the check of callers for a server that runs with these credentials."""
        return Gate(self.identity.uid, secure=self.secure)

    def metadata(self) -> Sequence[tuple[str, str]]:
        """Return what every call of this process carries: nothing when the certificate speaks for it."""
        return () if self.secure else ((CLAIM_KEY, str(self.identity)),)

    def channel(self, address: str, role: str, name: str) -> grpc.Channel:
        """Open a lazy channel to a peer, which must prove that it is `role` `name` of this job."""
        if not self.secure:
            return grpc.insecure_channel(address, options=_CLIENT_OPTIONS)
        expected = names.tls_host(self.identity.uid, role, name)
        options = (*_CLIENT_OPTIONS, ("grpc.ssl_target_name_override", expected))
        certificates = grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)
        return grpc.secure_channel(address, certificates, options=options)

    def listen(self, server: grpc.Server, address: str) -> int:
        """Bind a server (sync or asyncio) to host:port, port 0 for any; returns the port.

        Raises OSError when it cannot be bound.
        """
        try:
            if not self.secure:
                port = server.add_insecure_port(address)
            else:
                certificates = grpc.ssl_server_credentials(
                    [(self.key, self.certificate)], self.authority, require_client_auth=True
                )
                port = server.add_secure_port(address, certificates)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        return int(port)
