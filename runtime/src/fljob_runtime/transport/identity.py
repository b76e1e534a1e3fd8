"""Who is calling: the identity in the peer's certificate, checked on every call.

Used by the servicers. With `security.tls: Disabled` the same code path reads the identity that the caller
claims in its metadata, which anyone can forge: that mode is for laptops and says so at start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from fljob_api import names
from fljob_runtime.transport.errors import IdentityError

CLAIM_KEY = "fljob-identity"
_SAN = "x509_subject_alternative_name"


@dataclass(frozen=True)
class Identity:
    """One process of one job."""

    uid: str
    role: str
    name: str

    def __str__(self) -> str:
        return names.identity(self.uid, self.role, self.name)

    @classmethod
    def parse(cls, uri: str) -> Identity:
        """Parse fljob://uid/role/name; raises IdentityError."""
        parts = urlsplit(uri)
        path = parts.path.split("/")
        if parts.scheme != "fljob" or not parts.netloc or len(path) != 3 or not all(path[1:]):
            raise IdentityError(f"{uri[:200]!r} is not of the form fljob://uid/role/name")
        return cls(parts.netloc, path[1], path[2])


class CallContext(Protocol):
    """The parts of a servicer context, sync or async, that tell who is calling."""

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return what the TLS handshake proved."""
        ...

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]] | None:
        """Return what the caller says."""
        ...


class Gate:
    """Lets calls of this job's processes in."""

    def __init__(self, uid: str, *, secure: bool) -> None:
        self._uid = uid
        self._secure = secure

    def caller(self, context: CallContext) -> Identity:
        """Return the identity of the calling process; raises IdentityError for anyone not of this job."""
        uris = self._certified(context) if self._secure else self._claimed(context)
        if len(uris) != 1:
            raise IdentityError(
                f"{len(uris)} fljob:// identities with this call, 1 is needed; use the job's certificate"
            )
        identity = Identity.parse(uris[0])
        if identity.uid != self._uid:
            raise IdentityError(f"{identity} belongs to another job than {self._uid}")
        return identity

    def require(self, context: CallContext, role: str, name: str | None = None) -> Identity:
        """Return the caller if it has this role (and name); raises IdentityError otherwise."""
        identity = self.caller(context)
        if identity.role != role:
            raise IdentityError(f"{identity} may not do this: only the {role} may")
        if name is not None and identity.name != name:
            raise IdentityError(f"{identity} may not speak for {role} {name!r}")
        return identity

    def _certified(self, context: CallContext) -> list[str]:
        values = context.auth_context().get(_SAN, ())
        return [text for value in values if (text := value.decode("utf-8", "replace")).startswith("fljob:")]

    def _claimed(self, context: CallContext) -> list[str]:
        return [str(value) for key, value in context.invocation_metadata() or () if key == CLAIM_KEY]
