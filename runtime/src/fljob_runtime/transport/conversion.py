"""Messages to protobuf and back. Pure; called by the servicers and clients of this package only.

Reading is strict: what the protocol does not know or bound raises MalformedError.
"""

from __future__ import annotations

from fljob_api.exit_codes import ExitCode
from fljob_api.wire import coordinator_pb2 as pb
from fljob_api.wire import server_pb2 as spb
from fljob_runtime import messages as m
from fljob_runtime.transport.errors import MalformedError

MAX_LAYOUT_BYTES = 1 << 20
MAX_METRICS_BYTES = 1 << 20
MAX_TEXT = 4096

_OUTCOMES = {
    m.Outcome.SUCCEEDED: pb.Finish.SUCCEEDED,
    m.Outcome.FAILED: pb.Finish.FAILED,
    m.Outcome.PAUSED: pb.Finish.PAUSED,
    m.Outcome.REFUSED: pb.Finish.REFUSED,
}
_OUTCOMES_BACK = {number: outcome for outcome, number in _OUTCOMES.items()}


def report_to_proto(report: m.Report) -> pb.ClientReport:
    """Encode a report."""
    match report:
        case m.Hello():
            return pb.ClientReport(hello=pb.Hello(**vars(report)))
        case m.Heartbeat():
            return pb.ClientReport(heartbeat=pb.Heartbeat(**vars(report)))
        case m.TrainReport():
            fields = {**vars(report), "receipts": [pb.Receipt(**vars(r)) for r in report.receipts]}
            return pb.ClientReport(train=pb.TrainReport(**fields))
        case m.EvaluateReport():
            return pb.ClientReport(evaluate=pb.EvaluateReport(**vars(report)))
        case m.Failure():
            message = report.message[:MAX_TEXT]
            return pb.ClientReport(failure=pb.Failure(exit_code=int(report.exit_code), message=message))


def report_from_proto(proto: pb.ClientReport) -> m.Report:
    """Decode and bound a report; raises MalformedError."""
    kind = proto.WhichOneof("report")
    match kind:
        case "hello":
            return _hello(proto.hello)
        case "heartbeat":
            h = proto.heartbeat
            return m.Heartbeat(h.round, h.activity[:MAX_TEXT], h.samples_done, h.samples_total, h.loss, h.auc)
        case "train":
            return _train_report(proto.train)
        case "evaluate":
            e = proto.evaluate
            return m.EvaluateReport(e.version, _bounded(e.metrics, MAX_METRICS_BYTES, "metrics"), e.seconds)
        case "failure":
            return m.Failure(_exit_code(proto.failure.exit_code), proto.failure.message[:MAX_TEXT])
        case _:
            raise MalformedError("a report without content; the peer speaks another version")


def instruction_to_proto(instruction: m.Instruction) -> pb.Instruction:
    """Encode an instruction."""
    match instruction:
        case m.Initialize():
            return pb.Instruction(initialize=pb.Initialize())
        case m.Train():
            return pb.Instruction(train=pb.Train(**vars(instruction)))
        case m.Evaluate():
            return pb.Instruction(evaluate=pb.Evaluate(**vars(instruction)))
        case m.Repush():
            return pb.Instruction(repush=pb.Repush(**vars(instruction)))
        case m.Committed():
            return pb.Instruction(committed=pb.Committed(**vars(instruction)))
        case m.Finish():
            finish = pb.Finish(
                outcome=_OUTCOMES[instruction.outcome],
                reason=instruction.reason,
                message=instruction.message[:MAX_TEXT],
                exit_code=int(instruction.exit_code),
            )
            return pb.Instruction(finish=finish)


def instruction_from_proto(proto: pb.Instruction) -> m.Instruction:
    """Decode an instruction; raises MalformedError."""
    match proto.WhichOneof("instruction"):
        case "initialize":
            return m.Initialize()
        case "train":
            t = proto.train
            return m.Train(t.round, t.deadline, t.members, t.share, t.task, t.attempt)
        case "evaluate":
            return m.Evaluate(proto.evaluate.version, proto.evaluate.next_round, proto.evaluate.next_task)
        case "repush":
            return m.Repush(proto.repush.round)
        case "committed":
            return m.Committed(proto.committed.round, proto.committed.accepted)
        case "finish":
            f = proto.finish
            if f.outcome not in _OUTCOMES_BACK:
                raise MalformedError(f"unknown outcome {f.outcome}; the peer speaks another version")
            return m.Finish(_OUTCOMES_BACK[f.outcome], f.reason, f.message, _exit_code(f.exit_code))
        case _:
            raise MalformedError("an instruction without content; the peer speaks another version")


def state_to_proto(state: m.ShardState) -> spb.ShardState:
    """Encode a shard's state."""
    staged = [spb.StagedUpdate(**vars(update)) for update in state.staged]
    saved = None if state.saved is None else _saved_to_proto(state.saved)
    return spb.ShardState(**{**vars(state), "staged": staged, "saved": saved})


def state_from_proto(proto: spb.ShardState) -> m.ShardState:
    """Decode a shard's state."""
    staged = tuple(m.StagedUpdate(s.round, s.trainer, s.attempt, s.digest) for s in proto.staged)
    return m.ShardState(
        shard=proto.shard,
        num_shards=proto.num_shards,
        boot_id=proto.boot_id,
        versions=tuple(proto.versions),
        staged=staged,
        bytes_received=proto.bytes_received,
        bytes_sent=proto.bytes_sent,
        saved=_saved_from_proto(proto.saved) if proto.HasField("saved") else None,
    )


def _saved_to_proto(saved: m.SavedVersion) -> spb.SavedVersion:
    return spb.SavedVersion(
        version=saved.version,
        digest=saved.digest,
        file=spb.CheckpointFile(path=saved.checkpoint, digest=saved.checkpoint_digest),
        bases=[spb.CheckpointFile(path=path, digest=digest) for path, digest in saved.checkpoint_bases],
        error=saved.error[:MAX_TEXT],
    )


def _saved_from_proto(s: spb.SavedVersion) -> m.SavedVersion:
    bases = tuple((base.path, base.digest) for base in s.bases)
    return m.SavedVersion(s.version, s.digest, s.file.path, s.file.digest, bases, s.error)


def _hello(h: pb.Hello) -> m.Hello:
    return m.Hello(
        job_uid=h.job_uid,
        incarnation=h.incarnation,
        trainer=h.trainer,
        layout_digest=h.layout_digest[:MAX_TEXT],
        layout=_bounded(h.layout, MAX_LAYOUT_BYTES, "layout"),
        num_samples=h.num_samples,
        num_test_pairs=h.num_test_pairs,
        num_clients=h.num_clients,
        device=h.device[:MAX_TEXT],
        num_cpus=h.num_cpus,
        memory_bytes=h.memory_bytes,
        private_version=h.private_version,
    )


def _train_report(t: pb.TrainReport) -> m.TrainReport:
    return m.TrainReport(
        round=t.round,
        attempt=t.attempt,
        receipts=tuple(m.Receipt(r.shard, r.digest, r.num_bytes) for r in t.receipts),
        num_samples=t.num_samples,
        metrics=_bounded(t.metrics, MAX_METRICS_BYTES, "metrics"),
        seconds=t.seconds,
        cpu_seconds=t.cpu_seconds,
        bytes_sent=t.bytes_sent,
        bytes_received=t.bytes_received,
    )


def _bounded(value: bytes, limit: int, what: str) -> bytes:
    if len(value) > limit:
        raise MalformedError(f"{what}: {len(value)} bytes, at most {limit} are allowed")
    return value


def _exit_code(code: int) -> ExitCode:
    try:
        return ExitCode(code)
    except ValueError:
        return ExitCode.CRASH
