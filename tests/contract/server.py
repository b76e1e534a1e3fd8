"""A thin client of a real API server for FLJob objects: what was stored, or which fields were refused.

Used by the contract tests only. Speaks raw JSON so that nothing is added or dropped on the way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from kubernetes import client

_FLJOBS = "/apis/fljob.dev/v1alpha1/namespaces/{namespace}/fljobs"
_UNKNOWN = 'unknown field "'


@dataclass(frozen=True)
class Refusal:
    """Why the API server said no: its whole message, and the fields that its causes name."""

    message: str
    fields: frozenset[str]


@dataclass(frozen=True)
class FLJobs:
    """FLJobs of one namespace; every call has a time limit of ten seconds."""

    api: client.ApiClient
    namespace: str = "default"

    def create(self, manifest: dict[str, Any]) -> dict[str, Any] | Refusal:
        """Create the object (unknown fields refused) and return it as stored, or why not."""
        return self._call("POST", "", manifest, "application/json")

    def dry_run(self, manifest: dict[str, Any]) -> dict[str, Any] | Refusal:
        """As `create`, but nothing is stored."""
        return self._call("POST", "", manifest, "application/json", dryRun="All")

    def patch(self, name: str, spec: dict[str, Any]) -> dict[str, Any] | Refusal:
        """Merge fields into the spec; None removes one."""
        return self._call("PATCH", f"/{name}", {"spec": spec}, "application/merge-patch+json")

    def _call(
        self, method: str, name: str, body: dict[str, Any], content: str, **query: str
    ) -> dict[str, Any] | Refusal:
        request = self.api.param_serialize(
            method,
            _FLJOBS.format(namespace=self.namespace) + name,
            query_params=[("fieldValidation", "Strict"), *query.items()],
            header_params={"Content-Type": content, "Accept": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        response = self.api.call_api(*request, _request_timeout=10)
        answer: dict[str, Any] = json.loads(response.read())
        return answer if response.status < 300 else _refusal(answer)


def _refusal(status: dict[str, Any]) -> Refusal:
    message = status["message"]
    causes = status.get("details", {}).get("causes", ())
    unknown = [part.split('"')[0] for part in message.split(_UNKNOWN)[1:]]
    return Refusal(message, frozenset([*(cause.get("field", "") for cause in causes), *unknown]))
