from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClientReport(_message.Message):
    __slots__ = ("hello", "heartbeat", "train", "evaluate", "failure")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    heartbeat: Heartbeat
    train: TrainReport
    evaluate: EvaluateReport
    failure: Failure
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., train: _Optional[_Union[TrainReport, _Mapping]] = ..., evaluate: _Optional[_Union[EvaluateReport, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("job_uid", "incarnation", "trainer", "layout_digest", "layout", "num_samples", "num_test_pairs", "num_clients", "device", "num_cpus", "memory_bytes", "private_version")
    JOB_UID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    TRAINER_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    NUM_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    NUM_TEST_PAIRS_FIELD_NUMBER: _ClassVar[int]
    NUM_CLIENTS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    NUM_CPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_VERSION_FIELD_NUMBER: _ClassVar[int]
    job_uid: str
    incarnation: int
    trainer: str
    layout_digest: str
    layout: bytes
    num_samples: int
    num_test_pairs: int
    num_clients: int
    device: str
    num_cpus: int
    memory_bytes: int
    private_version: int
    def __init__(self, job_uid: _Optional[str] = ..., incarnation: _Optional[int] = ..., trainer: _Optional[str] = ..., layout_digest: _Optional[str] = ..., layout: _Optional[bytes] = ..., num_samples: _Optional[int] = ..., num_test_pairs: _Optional[int] = ..., num_clients: _Optional[int] = ..., device: _Optional[str] = ..., num_cpus: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., private_version: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("round", "activity", "samples_done", "samples_total", "loss", "auc")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ACTIVITY_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_DONE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    AUC_FIELD_NUMBER: _ClassVar[int]
    round: int
    activity: str
    samples_done: int
    samples_total: int
    loss: float
    auc: float
    def __init__(self, round: _Optional[int] = ..., activity: _Optional[str] = ..., samples_done: _Optional[int] = ..., samples_total: _Optional[int] = ..., loss: _Optional[float] = ..., auc: _Optional[float] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("shard", "digest", "num_bytes")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    shard: int
    digest: str
    num_bytes: int
    def __init__(self, shard: _Optional[int] = ..., digest: _Optional[str] = ..., num_bytes: _Optional[int] = ...) -> None: ...

class TrainReport(_message.Message):
    __slots__ = ("round", "attempt", "receipts", "num_samples", "metrics", "seconds", "cpu_seconds", "bytes_sent", "bytes_received")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    NUM_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    CPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_SENT_FIELD_NUMBER: _ClassVar[int]
    BYTES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    round: int
    attempt: int
    receipts: _containers.RepeatedCompositeFieldContainer[Receipt]
    num_samples: int
    metrics: bytes
    seconds: float
    cpu_seconds: float
    bytes_sent: int
    bytes_received: int
    def __init__(self, round: _Optional[int] = ..., attempt: _Optional[int] = ..., receipts: _Optional[_Iterable[_Union[Receipt, _Mapping]]] = ..., num_samples: _Optional[int] = ..., metrics: _Optional[bytes] = ..., seconds: _Optional[float] = ..., cpu_seconds: _Optional[float] = ..., bytes_sent: _Optional[int] = ..., bytes_received: _Optional[int] = ...) -> None: ...

class EvaluateReport(_message.Message):
    __slots__ = ("version", "metrics", "seconds")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    version: int
    metrics: bytes
    seconds: float
    def __init__(self, version: _Optional[int] = ..., metrics: _Optional[bytes] = ..., seconds: _Optional[float] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("exit_code", "message")
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    exit_code: int
    message: str
    def __init__(self, exit_code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class Instruction(_message.Message):
    __slots__ = ("initialize", "train", "evaluate", "repush", "committed", "finish")
    INITIALIZE_FIELD_NUMBER: _ClassVar[int]
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_FIELD_NUMBER: _ClassVar[int]
    REPUSH_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    initialize: Initialize
    train: Train
    evaluate: Evaluate
    repush: Repush
    committed: Committed
    finish: Finish
    def __init__(self, initialize: _Optional[_Union[Initialize, _Mapping]] = ..., train: _Optional[_Union[Train, _Mapping]] = ..., evaluate: _Optional[_Union[Evaluate, _Mapping]] = ..., repush: _Optional[_Union[Repush, _Mapping]] = ..., committed: _Optional[_Union[Committed, _Mapping]] = ..., finish: _Optional[_Union[Finish, _Mapping]] = ...) -> None: ...

class Initialize(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Train(_message.Message):
    __slots__ = ("round", "deadline", "members", "share", "task", "attempt")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    round: int
    deadline: float
    members: int
    share: float
    task: int
    attempt: int
    def __init__(self, round: _Optional[int] = ..., deadline: _Optional[float] = ..., members: _Optional[int] = ..., share: _Optional[float] = ..., task: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...

class Evaluate(_message.Message):
    __slots__ = ("version", "next_round", "next_task")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NEXT_ROUND_FIELD_NUMBER: _ClassVar[int]
    NEXT_TASK_FIELD_NUMBER: _ClassVar[int]
    version: int
    next_round: int
    next_task: int
    def __init__(self, version: _Optional[int] = ..., next_round: _Optional[int] = ..., next_task: _Optional[int] = ...) -> None: ...

class Repush(_message.Message):
    __slots__ = ("round",)
    ROUND_FIELD_NUMBER: _ClassVar[int]
    round: int
    def __init__(self, round: _Optional[int] = ...) -> None: ...

class Committed(_message.Message):
    __slots__ = ("round", "accepted")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    round: int
    accepted: bool
    def __init__(self, round: _Optional[int] = ..., accepted: _Optional[bool] = ...) -> None: ...

class Finish(_message.Message):
    __slots__ = ("outcome", "reason", "message", "exit_code")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SUCCEEDED: _ClassVar[Finish.Outcome]
        FAILED: _ClassVar[Finish.Outcome]
        PAUSED: _ClassVar[Finish.Outcome]
        REFUSED: _ClassVar[Finish.Outcome]
    SUCCEEDED: Finish.Outcome
    FAILED: Finish.Outcome
    PAUSED: Finish.Outcome
    REFUSED: Finish.Outcome
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    outcome: Finish.Outcome
    reason: str
    message: str
    exit_code: int
    def __init__(self, outcome: _Optional[_Union[Finish.Outcome, str]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., exit_code: _Optional[int] = ...) -> None: ...
