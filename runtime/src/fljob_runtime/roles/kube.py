"""A pod's three requests to the Kubernetes API, over the standard library: get and patch of named objects.

Used by the coordinator's progress sink and control source. Not a client library: no watch, no discovery.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_S = 5.0
_MAX_BODY = 4 << 20


class KubeError(Exception):
    """A request failed; `code` is the HTTP status, 0 when there was no answer."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class KubeClient:
    """Requests to one API server with the token file of this pod, which is read anew each time (it rotates)."""

    url: str
    token_file: Path
    authority_file: Path | None

    @classmethod
    def in_pod(cls, host: str, port: str, folder: Path = SERVICE_ACCOUNT) -> KubeClient:
        """Return the client of a pod, by KUBERNETES_SERVICE_HOST and _PORT and its mounted service account."""
        bracketed = f"[{host}]" if ":" in host else host
        return cls(f"https://{bracketed}:{port}", folder / "token", folder / "ca.crt")

    def get(self, path: str) -> dict[str, Any]:
        """Return an object; raises KubeError."""
        return self._request("GET", path, None, "application/json")

    def merge_patch(self, path: str, patch: dict[str, Any]) -> dict[str, Any]:
        """Apply a JSON merge patch to an object and return it; raises KubeError."""
        return self._request("PATCH", path, json.dumps(patch).encode(), "application/merge-patch+json")

    def _request(self, method: str, path: str, body: bytes | None, content: str) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.url}{path}", data=body, method=method)  # noqa: S310 - the URL is the pod's own API server
        request.add_header("Content-Type", content)
        request.add_header("Accept", "application/json")
        try:
            request.add_header("Authorization", f"Bearer {self.token_file.read_text().strip()}")
            context = ssl.create_default_context(cafile=str(self.authority_file)) if self.authority_file else None
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context) as answer:  # noqa: S310
                value: dict[str, Any] = json.loads(answer.read(_MAX_BODY))
                return value
        except urllib.error.HTTPError as error:
            words = error.read(1024).decode("utf-8", "replace")
            raise KubeError(f"{method} {path}: {error.code} {words}", error.code) from error
        except (OSError, ValueError) as error:
            raise KubeError(f"{method} {path}: {error}") from error
