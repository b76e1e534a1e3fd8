"""Which rows a message asks for: ids to protobuf and back. Both ends, each the other's mirror.

Used by shard_client and exchange (ask), shard_service and exchange (read). Reading is bounded and strict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fljob_api.wire import server_pb2 as pb
from fljob_runtime.errors import MalformedError
from fljob_runtime.packed import pack_ids, unpack_ids
from fljob_runtime.parameters import Int64Array

MOST_IDS = 1 << 17  # of one message, all tables together


def ids_to_proto(ids: Mapping[str, Int64Array]) -> list[pb.RowIds]:
    """Encode ids by table, each sorted and unique; raises MalformedError where they are not."""
    return [pb.RowIds(table=table, ids=pack_ids(wanted).tobytes(), count=wanted.size) for table, wanted in ids.items()]


def ids_from_proto(rows: Sequence[pb.RowIds], tables: Iterable[str]) -> dict[str, Int64Array]:
    """Decode ids by table: sorted, unique, of these tables, at most MOST_IDS; raises MalformedError."""
    total = sum(one.count for one in rows)
    if total > MOST_IDS:
        raise MalformedError(f"{total} rows are asked for in one message; at most {MOST_IDS} are allowed")
    unknown, names = {one.table for one in rows} - set(tables), [one.table for one in rows]
    if unknown:
        raise MalformedError(f"no shared table {sorted(unknown)} in this model")
    if len(set(names)) < len(names):
        raise MalformedError(f"rows of one table are asked for twice: {sorted(names)}")
    return {one.table: unpack_ids(np.frombuffer(one.ids, np.uint8), one.count) for one in rows}
