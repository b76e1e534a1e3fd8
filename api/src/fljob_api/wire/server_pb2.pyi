from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RowIds(_message.Message):
    __slots__ = ("table", "ids", "count")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    table: str
    ids: bytes
    count: int
    def __init__(self, table: _Optional[str] = ..., ids: _Optional[bytes] = ..., count: _Optional[int] = ...) -> None: ...

class PullRequest(_message.Message):
    __slots__ = ("version", "rows", "without_dense")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_DENSE_FIELD_NUMBER: _ClassVar[int]
    version: int
    rows: _containers.RepeatedCompositeFieldContainer[RowIds]
    without_dense: bool
    def __init__(self, version: _Optional[int] = ..., rows: _Optional[_Iterable[_Union[RowIds, _Mapping]]] = ..., without_dense: _Optional[bool] = ...) -> None: ...

class Block(_message.Message):
    __slots__ = ("name", "kind", "num_bytes", "num_rows")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        DENSE: _ClassVar[Block.Kind]
        PACKED_IDS: _ClassVar[Block.Kind]
        ROW_VALUES: _ClassVar[Block.Kind]
        PACKED_WEIGHTS: _ClassVar[Block.Kind]
        CODED: _ClassVar[Block.Kind]
    DENSE: Block.Kind
    PACKED_IDS: Block.Kind
    ROW_VALUES: Block.Kind
    PACKED_WEIGHTS: Block.Kind
    CODED: Block.Kind
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    NUM_ROWS_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: Block.Kind
    num_bytes: int
    num_rows: int
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[Block.Kind, str]] = ..., num_bytes: _Optional[int] = ..., num_rows: _Optional[int] = ...) -> None: ...

class PushHeader(_message.Message):
    __slots__ = ("job_uid", "incarnation", "round", "trainer", "attempt", "num_samples", "layout", "codecs")
    JOB_UID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    TRAINER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    NUM_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    CODECS_FIELD_NUMBER: _ClassVar[int]
    job_uid: str
    incarnation: int
    round: int
    trainer: str
    attempt: int
    num_samples: int
    layout: bytes
    codecs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job_uid: _Optional[str] = ..., incarnation: _Optional[int] = ..., round: _Optional[int] = ..., trainer: _Optional[str] = ..., attempt: _Optional[int] = ..., num_samples: _Optional[int] = ..., layout: _Optional[bytes] = ..., codecs: _Optional[_Iterable[str]] = ...) -> None: ...

class ExchangeHeader(_message.Message):
    __slots__ = ("sequence", "members", "share", "last", "wanted", "without_dense")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_DENSE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    members: int
    share: float
    last: bool
    wanted: _containers.RepeatedCompositeFieldContainer[RowIds]
    without_dense: bool
    def __init__(self, sequence: _Optional[int] = ..., members: _Optional[int] = ..., share: _Optional[float] = ..., last: _Optional[bool] = ..., wanted: _Optional[_Iterable[_Union[RowIds, _Mapping]]] = ..., without_dense: _Optional[bool] = ...) -> None: ...

class ExchangeAnswer(_message.Message):
    __slots__ = ("applied", "staleness", "dropped")
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    STALENESS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    applied: int
    staleness: int
    dropped: bool
    def __init__(self, applied: _Optional[int] = ..., staleness: _Optional[int] = ..., dropped: _Optional[bool] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("push", "blocks", "data", "exchange", "answer")
    PUSH_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    push: PushHeader
    blocks: _containers.RepeatedCompositeFieldContainer[Block]
    data: bytes
    exchange: ExchangeHeader
    answer: ExchangeAnswer
    def __init__(self, push: _Optional[_Union[PushHeader, _Mapping]] = ..., blocks: _Optional[_Iterable[_Union[Block, _Mapping]]] = ..., data: _Optional[bytes] = ..., exchange: _Optional[_Union[ExchangeHeader, _Mapping]] = ..., answer: _Optional[_Union[ExchangeAnswer, _Mapping]] = ...) -> None: ...

class PushAck(_message.Message):
    __slots__ = ("shard", "digest", "num_bytes")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    shard: int
    digest: str
    num_bytes: int
    def __init__(self, shard: _Optional[int] = ..., digest: _Optional[str] = ..., num_bytes: _Optional[int] = ...) -> None: ...

class AcceptedUpdate(_message.Message):
    __slots__ = ("trainer", "attempt", "digest", "round")
    TRAINER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    trainer: str
    attempt: int
    digest: str
    round: int
    def __init__(self, trainer: _Optional[str] = ..., attempt: _Optional[int] = ..., digest: _Optional[str] = ..., round: _Optional[int] = ...) -> None: ...

class CommitRequest(_message.Message):
    __slots__ = ("round", "accepted", "checkpoint", "release")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    round: int
    accepted: _containers.RepeatedCompositeFieldContainer[AcceptedUpdate]
    checkpoint: bool
    release: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, round: _Optional[int] = ..., accepted: _Optional[_Iterable[_Union[AcceptedUpdate, _Mapping]]] = ..., checkpoint: _Optional[bool] = ..., release: _Optional[_Iterable[int]] = ...) -> None: ...

class CommitAck(_message.Message):
    __slots__ = ("version", "digest", "missing")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    version: int
    digest: str
    missing: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[int] = ..., digest: _Optional[str] = ..., missing: _Optional[_Iterable[str]] = ...) -> None: ...

class CheckpointFile(_message.Message):
    __slots__ = ("path", "digest")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    path: str
    digest: str
    def __init__(self, path: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class StateRequest(_message.Message):
    __slots__ = ("restore", "files")
    RESTORE_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    restore: int
    files: _containers.RepeatedCompositeFieldContainer[CheckpointFile]
    def __init__(self, restore: _Optional[int] = ..., files: _Optional[_Iterable[_Union[CheckpointFile, _Mapping]]] = ...) -> None: ...

class StagedUpdate(_message.Message):
    __slots__ = ("round", "trainer", "attempt", "digest")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    TRAINER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    round: int
    trainer: str
    attempt: int
    digest: str
    def __init__(self, round: _Optional[int] = ..., trainer: _Optional[str] = ..., attempt: _Optional[int] = ..., digest: _Optional[str] = ...) -> None: ...

class SavedVersion(_message.Message):
    __slots__ = ("version", "digest", "file", "bases", "error")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    BASES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    version: int
    digest: str
    file: CheckpointFile
    bases: _containers.RepeatedCompositeFieldContainer[CheckpointFile]
    error: str
    def __init__(self, version: _Optional[int] = ..., digest: _Optional[str] = ..., file: _Optional[_Union[CheckpointFile, _Mapping]] = ..., bases: _Optional[_Iterable[_Union[CheckpointFile, _Mapping]]] = ..., error: _Optional[str] = ...) -> None: ...

class ShardState(_message.Message):
    __slots__ = ("shard", "num_shards", "boot_id", "versions", "staged", "bytes_received", "bytes_sent", "saved")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    NUM_SHARDS_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    STAGED_FIELD_NUMBER: _ClassVar[int]
    BYTES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    BYTES_SENT_FIELD_NUMBER: _ClassVar[int]
    SAVED_FIELD_NUMBER: _ClassVar[int]
    shard: int
    num_shards: int
    boot_id: str
    versions: _containers.RepeatedScalarFieldContainer[int]
    staged: _containers.RepeatedCompositeFieldContainer[StagedUpdate]
    bytes_received: int
    bytes_sent: int
    saved: SavedVersion
    def __init__(self, shard: _Optional[int] = ..., num_shards: _Optional[int] = ..., boot_id: _Optional[str] = ..., versions: _Optional[_Iterable[int]] = ..., staged: _Optional[_Iterable[_Union[StagedUpdate, _Mapping]]] = ..., bytes_received: _Optional[int] = ..., bytes_sent: _Optional[int] = ..., saved: _Optional[_Union[SavedVersion, _Mapping]] = ...) -> None: ...

class ShutdownRequest(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class ShutdownAck(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
