"""What passes between coordinator and trainers, and between coordinator and shards: reports, instructions, states."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message

from fljob_api.exit_codes import ExitCode
from fljob_api.wire import coordinator_pb2 as cpb
from fljob_api.wire import server_pb2 as pb
from fljob_runtime import messages as m
from fljob_runtime.errors import TransportError
from fljob_runtime.metrics.sums import MetricsError, MetricSums
from fljob_runtime.packed import pack_ids, unpack_ids
from fljob_runtime.parameters import Kind, LayoutError, ModelLayout, ParamSpec, TableRules
from fljob_runtime.roles.progress_view import check_metrics, summarise
from fljob_runtime.transport import conversion
from fuzzing.model import LAYOUT, UID, metrics
from fuzzing.target import Target, plain

_IDS = 12
KEYED = ModelLayout((ParamSpec("weight", (4,)), ParamSpec("items", (2,), Kind.KEYED, rules=TableRules())))
_P = TypeVar("_P", bound=Message)


def targets() -> Iterator[Target]:
    """Yield the targets of this module."""
    reports: list[m.Report] = [
        m.Hello(UID, 0, "a", LAYOUT.digest, LAYOUT.to_json(), 10),
        m.TrainReport(1, 0, (m.Receipt(0, "d", 9),), 10, metrics()),
        m.Heartbeat(1, "Training", 5, 10, 0.5, 0.7),
        m.EvaluateReport(1, metrics(), 0.5),
        m.Failure(ExitCode.BAD_DATA, "torn"),
    ]
    finish = m.Finish(m.Outcome.SUCCEEDED, "Completed", "", ExitCode.DONE)
    instructions: list[m.Instruction] = [
        m.Initialize(),
        m.Train(1, 5.0, 2, 0.5),
        m.Evaluate(1, 2),
        m.Repush(1),
        m.Committed(1, accepted=True),
        finish,
    ]
    saved = m.SavedVersion(1, "d", "a", "b", (("c", "d"),))
    state = m.ShardState(0, 1, "boot", (0, 1), (m.StagedUpdate(1, "a", 0, "d"),), 5, 5, saved)
    yield _protos("report", map(conversion.report_to_proto, reports), cpb.ClientReport, _report)
    told = map(conversion.instruction_to_proto, instructions)
    yield _protos("instruction", told, cpb.Instruction, conversion.instruction_from_proto)
    yield _protos("shard-state", [conversion.state_to_proto(state)], pb.ShardState, conversion.state_from_proto)
    yield plain("metrics", [metrics()], MetricSums.from_bytes, MetricsError)
    yield plain("metrics-inflated", [zlib.decompress(metrics())], _inflated, MetricsError)
    yield plain("layout", [LAYOUT.to_json(), KEYED.to_json()], ModelLayout.from_json, LayoutError)
    numbers = [np.linspace(-7, last, _IDS).astype(np.int64) for last in (_IDS - 8, 40, 1 << 50)]
    yield plain("row-ids", [pack_ids(ids).tobytes() for ids in numbers], _row_ids, TransportError)


def _protos(name: str, valid: Iterable[_P], kind: type[_P], read: Callable[[_P], object]) -> Target:
    """Return a target for messages that grpc decodes, whose DecodeError costs the call."""

    def decode(data: bytes) -> object:
        return read(kind.FromString(data))

    return plain(name, [v.SerializeToString() for v in valid], decode, TransportError, DecodeError)


def _report(proto: cpb.ClientReport) -> object:
    """Read a report, and its metrics as the coordinator does: what it does not distrust it can sum up."""
    report = conversion.report_from_proto(proto)
    if isinstance(report, m.TrainReport | m.EvaluateReport) and not check_metrics(report.metrics):
        return summarise([report.metrics, report.metrics])
    return report


def _row_ids(data: bytes) -> object:
    return unpack_ids(np.frombuffer(data, np.uint8), _IDS)


def _inflated(data: bytes) -> object:
    """Read sums that are behind their compression."""
    return MetricSums.from_bytes(zlib.compress(data, level=1))
