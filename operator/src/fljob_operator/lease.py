"""Leader election by a coordination.k8s.io Lease: one operator acts, another stands by.

The holder renews; when it cannot for a lease's length it must stop at once, because another may act. The clock of other
machines is not trusted: a lease counts as expired when this process has seen it unchanged for its length.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from fljob_operator.cluster import ClusterClient, ClusterError
from fljob_operator.desired import Manifest

log = logging.getLogger(__name__)


@dataclass
class Lease:
    """One lease, and what this process last saw of it."""

    cluster: ClusterClient
    namespace: str
    name: str
    identity: str
    duration_s: float
    _seen: str = ""
    _seen_at: float = 0.0

    async def acquire(self) -> None:
        """Return when this process holds the lease."""
        while not await self._try():
            await asyncio.sleep(self.duration_s / 5)
        log.info("lease=%s holder=%s acquired", self.name, self.identity)

    async def hold(self) -> None:
        """Renew for ever; returns when the lease is lost."""
        renewed = time.monotonic()
        while time.monotonic() - renewed < self.duration_s * 2 / 3:
            await asyncio.sleep(self.duration_s / 5)
            if await self._try():
                renewed = time.monotonic()
        log.error("lease=%s holder=%s lost", self.name, self.identity)

    async def release(self) -> None:
        """Give the lease back, so that the next holder need not wait."""
        try:
            present = await self.cluster.get("Lease", self.namespace, self.name)
            if present and present["spec"].get("holderIdentity") == self.identity:
                await self.cluster.put({**present, "spec": {**present["spec"], "holderIdentity": ""}})
        except ClusterError as error:
            log.warning("lease=%s not released: %s", self.name, error)

    async def _try(self) -> bool:
        try:
            present = await self.cluster.get("Lease", self.namespace, self.name)
            if present is None:
                return await self.cluster.create(self._wanted(None))
            spec = present.get("spec", {})
            holder = spec.get("holderIdentity", "")
            sign = f"{holder} {spec.get('renewTime')}"
            if sign != self._seen:
                self._seen, self._seen_at = sign, time.monotonic()
            expired = time.monotonic() - self._seen_at > float(spec.get("leaseDurationSeconds", self.duration_s))
            if holder not in ("", self.identity) and not expired:
                return False
            await self.cluster.put(self._wanted(present))
        except ClusterError as error:
            log.warning("lease=%s error=%s", self.name, error)
            return False
        return True

    def _wanted(self, present: Manifest | None) -> Manifest:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = (present or {}).get("spec", {})
        same = old.get("holderIdentity") == self.identity
        metadata = present["metadata"] if present else {"name": self.name, "namespace": self.namespace}
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, int(self.duration_s)),
            "acquireTime": old.get("acquireTime", now) if same else now,
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions", 0)) + (0 if same or not present else 1),
        }
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
