"""The parameter server as the trainer's worker sees it: calls with deadlines for large models; retries are the
worker's, which looks up between them.

Made by programs.trainer around transport's client.
"""

from __future__ import annotations

from collections.abc import Mapping

from fljob_runtime.messages import Receipt
from fljob_runtime.parameters import Int64Array, ModelState
from fljob_runtime.transport.exchange import Exchanged, Numbered
from fljob_runtime.transport.server_client import ServerClient

PULL_S = 120.0
PUSH_S = 120.0
EXCHANGE_S = 120.0


class RoundServers:
    """Pull and push with deadlines of their own; each raises TransportError."""

    def __init__(self, client: ServerClient) -> None:
        self._client = client

    @property
    def bytes_sent(self) -> int:
        """Return the payload bytes pushed so far."""
        return self._client.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Return the payload bytes pulled so far."""
        return self._client.bytes_received

    def pull(self, version: int, rows: Mapping[str, Int64Array]) -> ModelState:
        """Return all shared dense values and the rows asked for, at one version."""
        return self._client.pull(version, rows, deadline_s=PULL_S)

    def push(self, round_number: int, attempt: int, num_samples: int, state: ModelState) -> tuple[Receipt, ...]:
        """Stage an update at every shard; return the receipts in shard order."""
        return self._client.push(round_number, attempt, state, num_samples, deadline_s=PUSH_S)

    def as_received(self, round_number: int, attempt: int, state: ModelState) -> ModelState:
        """Return what the shards make of a push of `state`."""
        return self._client.as_received(round_number, attempt, state)

    def exchange(self, number: Numbered, state: ModelState | None, wanted: Mapping[str, Int64Array]) -> Exchanged:
        """Send a contribution of a round, if there is one, and fetch values as they are now."""
        return self._client.exchange(number, state, wanted, deadline_s=EXCHANGE_S)
