"""The parameter server as one thing: splits calls over its shards and puts the answers together.

Used by roles.trainer (pull, push) and roles.coordinator (commit, state, restore, shutdown). Shards are asked
side by side; a call ends when all have answered or one has failed for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.compression.chain import Chain
from fljob_runtime.errors import MalformedError
from fljob_runtime.messages import AcceptedUpdate, CommitResult, Receipt, ShardState
from fljob_runtime.parameters import Float32Array, Int64Array, ModelLayout, ModelState, RowSet, unpack_dense
from fljob_runtime.server.placement import dense_range
from fljob_runtime.server.staging import PushHeader
from fljob_runtime.transport.credentials import Credentials
from fljob_runtime.transport.encode import Coding, Payload, encode_update, received_update, split_rows
from fljob_runtime.transport.exchange import Asked, Exchanged, Learned, Numbered
from fljob_runtime.transport.row_ids import MOST_IDS
from fljob_runtime.transport.shard_client import ShardClient

__all__ = ["ServerClient", "ShardFileName"]
_T = TypeVar("_T")


class ServerClient:
    """All shards of a job. `layout` is needed for pull and push only. Thread-safe; close it."""

    def __init__(
        self,
        addresses: Sequence[str],
        credentials: Credentials,
        *,
        incarnation: int = 0,
        layout: ModelLayout | None = None,
        patience_s: float | None = None,
        chain: Chain | None = None,
    ) -> None:
        """chain: compresses the updates and exchanges of all rounds but round 0.

        `patience_s`: for how long pull and push are repeated on transient faults; default: until their deadline."""
        self._identity = credentials.identity
        self._incarnation = incarnation
        self._layout = layout
        self._chain = chain
        self._shards = [
            ShardClient(address, credentials, i, patience_s=patience_s) for i, address in enumerate(addresses)
        ]
        self._pool = ThreadPoolExecutor(len(addresses), "shard-call") if len(addresses) > 1 else None
        self.bytes_sent = 0
        self.bytes_received = 0

    # Trainers.

    def pull(self, version: int, ids: Mapping[str, Int64Array], *, dense: bool = True, deadline_s: float) -> ModelState:
        """Fetch values of a version: all shared dense parameters (if `dense`), and the rows with these ids.

        ids: int64, sorted, unique, per shared table. Row sets come in id order, without weights. Raises
        StaleError when the version is gone, NotReadyError when it is not there by the deadline, and others.
        """
        layout = self._known_layout()
        vector = np.empty(layout.dense_size if dense else 0, np.float32)
        tables = {spec.name: spec for spec in layout.shared_tables if spec.name in ids}
        unknown = ids.keys() - tables.keys()
        if unknown:
            raise MalformedError(f"pull of rows of {sorted(unknown)}: not shared tables of this model")
        values = {name: np.empty((len(ids[name]), spec.dim), np.float32) for name, spec in tables.items()}
        split = {name: split_rows(name, ids[name], len(self._shards)) for name in tables}

        def one(client: ShardClient) -> int:
            index = {name: split[name][client.shard] for name in tables}
            mine = {name: ids[name][index[name]] for name in tables}
            part = vector[slice(*dense_range(vector.size, client.shard, len(self._shards)))]
            received = 0
            for first, batch in enumerate(_batches(mine)):
                into = {name: np.empty((len(i), values[name].shape[1]), np.float32) for name, (_, i) in batch.items()}
                blocks: list[NDArray[np.generic]] = [part if first == 0 else part[:0], *into.values()]
                wanted = {name: i for name, (_, i) in batch.items()}
                received += client.pull(version, wanted, blocks, deadline_s=deadline_s)
                for name, (start, _) in batch.items():
                    _place(values[name], index[name], start, into[name])
            return received

        self.bytes_received += sum(self._each(one))
        named = unpack_dense(layout.shared_dense, vector) if dense else {}
        return ModelState(named, {name: RowSet(ids[name], values[name]) for name in tables})

    def push(
        self, round_: int, attempt: int, state: ModelState, num_samples: int, *, deadline_s: float
    ) -> tuple[Receipt, ...]:
        """Push the update of a round (round 0: the initial values, every row) to all shards.

        Where the job compresses, `state` is the difference to the version before, but for round 0. Returns the
        receipts in shard order. Raises PrivateParameterError before anything is sent.
        """
        layout, coding = self._known_layout(), self._coding(round_, attempt)
        payloads = encode_update(layout, state, len(self._shards), coding)

        def one(client: ShardClient) -> Receipt:
            payload: Payload = payloads[client.shard]
            header = PushHeader(
                job_uid=self._identity.uid,
                incarnation=self._incarnation,
                round=round_,
                trainer=self._identity.name,
                attempt=attempt,
                num_samples=num_samples,
                blocks=payload.blocks,
                layout=layout.to_json() if round_ == 0 else b"",
                codecs=coding.chain.names if coding else (),
            )
            return client.push(header, payload.arrays, deadline_s=deadline_s)

        receipts = tuple(self._each(one))
        self.bytes_sent += sum(payload.num_bytes for payload in payloads)
        return receipts

    def as_received(self, round_: int, attempt: int, state: ModelState) -> ModelState:
        """Return what the shards make of a push of `state`, or of exchange `attempt`: itself without compression."""
        coding = self._coding(round_, attempt)
        if coding is None:
            return state
        return received_update(self._known_layout(), state, len(self._shards), coding)

    def _coding(self, round_: int, attempt: int) -> Coding | None:
        if self._chain is None or round_ == 0:
            return None
        return Coding(self._chain, round_, attempt, self._identity.name)

    def exchange(
        self, number: Numbered, state: ModelState | None, wanted: Mapping[str, Int64Array], *, deadline_s: float
    ) -> Exchanged:
        """Send one contribution of a round to all shards, and fetch values: all dense ones, and the rows wanted.

        state: dense values of every shared parameter, and touched rows with weights; None only asks. Raises
        PrivateParameterError before anything is sent, StaleError when the round must be begun again, and others.
        """
        layout, count = self._known_layout(), len(self._shards)
        nothing = [Payload((), ())] * count
        coding = self._coding(number.round, number.sequence) if state is not None else None
        payloads = encode_update(layout, state, count, coding) if state is not None else nothing
        fetch = not number.last
        vector = np.empty(layout.dense_size if fetch else 0, np.float32)
        tables = {spec.name: spec for spec in layout.shared_tables if spec.name in wanted}
        values = {name: np.empty((len(wanted[name]), spec.dim), np.float32) for name, spec in tables.items()}
        split = {name: split_rows(name, wanted[name], count) for name in tables}

        def one(client: ShardClient) -> Learned:
            payload = payloads[client.shard]
            header = PushHeader(
                job_uid=self._identity.uid,
                incarnation=self._incarnation,
                round=number.round,
                trainer=self._identity.name,
                attempt=number.sequence,
                num_samples=number.num_samples,
                blocks=payload.blocks,
                codecs=coding.chain.names if coding else (),
            )
            index = {name: split[name][client.shard] for name in tables}
            part = vector[slice(*dense_range(vector.size, client.shard, count))]
            said: list[Learned] = []
            for batch in _batches({name: wanted[name][index[name]] for name in tables}):
                into = {name: np.empty((len(i), values[name].shape[1]), np.float32) for name, (_, i) in batch.items()}
                rows = {name: i for name, (_, i) in batch.items()}
                asked = Asked(number.sequence, number.members, number.share, number.last, rows, dense=fetch)
                if said:  # more ids than fit one message: the rest is only read
                    asked = replace(asked, sequence=0, dense=False)
                    header, payload, part = replace(header, blocks=(), codecs=()), nothing[0], part[:0]
                arrays: list[NDArray[np.generic]] = [part, *into.values()]
                said.append(client.exchange(header, asked, payload.arrays, arrays, deadline_s=deadline_s))
                for name, (start, _) in batch.items():
                    _place(values[name], index[name], start, into[name])
            return said[0]

        learned = list(self._each(one))
        self.bytes_sent += sum(payload.num_bytes for payload in payloads)
        self.bytes_received += vector.nbytes + sum(array.nbytes for array in values.values())
        named = unpack_dense(layout.shared_dense, vector) if fetch else {}
        fetched = ModelState(named, {name: RowSet(wanted[name], values[name]) for name in tables})
        return Exchanged(
            min(said.applied for said in learned), fetched, max(said.staleness for said in learned), learned[0].dropped
        )

    # Coordinator.

    def commit(
        self,
        round_: int,
        accepted: Sequence[AcceptedUpdate],
        *,
        checkpoint: bool = False,
        release: Sequence[int] = (),
        deadline_s: float,
    ) -> tuple[CommitResult, ...]:
        """Name the accepted updates to all shards; returns their answers in shard order."""
        return tuple(
            self._each(
                lambda client: client.commit(
                    round_, accepted, checkpoint=checkpoint, release=release, deadline_s=deadline_s
                )
            )
        )

    def state(self, *, deadline_s: float) -> tuple[ShardState, ...]:
        """Ask all shards what they hold; returns their answers in shard order."""
        return tuple(self._each(lambda client: client.state(deadline_s=deadline_s)))

    def restore(
        self, version: int, files: Sequence[ShardFileName] = (), *, deadline_s: float
    ) -> tuple[ShardState, ...]:
        """Make `version` the newest at all shards: from memory, or else from `files` (in shard order).

        files: of each shard that wrote the version; they may have been more or fewer than there are now.
        -1 forgets everything. Raises StaleError when neither has it, CheckpointError for a bad file.
        """
        return tuple(self._each(lambda client: client.restore(version, files, deadline_s=deadline_s)))

    def shutdown(self, reason: str, *, deadline_s: float) -> None:
        """Tell all shards that the job is over."""
        list(self._each(lambda client: client.shutdown(reason, deadline_s=deadline_s)))

    def close(self) -> None:
        """Close all channels; running calls fail."""
        for client in self._shards:
            client.close()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _each(self, call: Callable[[ShardClient], _T]) -> Iterator[_T]:
        return (self._pool.map if self._pool is not None else map)(call, self._shards)

    def _known_layout(self) -> ModelLayout:
        if self._layout is None:
            raise MalformedError("pull and push need the model's layout; give it to ServerClient")
        return self._layout


_Batch = dict[str, tuple[int, Int64Array]]


def _batches(ids: Mapping[str, Int64Array]) -> Iterator[_Batch]:
    """Cut the ids of one shard into requests of bounded size: table → (offset, ids). At least one."""
    pieces = [
        (name, start, table_ids[start : start + MOST_IDS])
        for name, table_ids in ids.items()
        for start in range(0, len(table_ids), MOST_IDS)
    ]
    batch: _Batch = {}
    size = 0
    for name, start, piece in pieces:
        if batch and size + len(piece) > MOST_IDS:
            yield batch
            batch, size = {}, 0
        batch[name] = (start, piece)
        size += len(piece)
    yield batch


def _place(values: Float32Array, index: slice | Int64Array, start: int, part: Float32Array) -> None:
    """Write the rows of one batch of one shard to their places."""
    if isinstance(index, slice):
        values[start : start + len(part)] = part
    else:
        values[index[start : start + len(part)]] = part
