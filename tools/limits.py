"""The table of every limit, from the constants and types that set them. Used by generate_docs and its test.

A limit is added here when it is added to the code; numbers are never written here.
"""

from __future__ import annotations

from typing import Any

from fljob_api.crd import structural
from fljob_api.manifest import MAX_BYTES as MAX_MANIFEST_BYTES
from fljob_api.spec import FLJobSpec
from fljob_operator.desired.jobs import SERVER_OWN_BYTES, UPDATES_SHARE
from fljob_runtime.metrics.histogram import MAX_MERGED_CELLS
from fljob_runtime.metrics.sums import MAX_BYTES as MAX_METRICS_BYTES
from fljob_runtime.parameters import MAX_ELEMENTS
from fljob_runtime.programs.server import DEFAULT_MEMORY_BYTES
from fljob_runtime.roles.coordinator import SILENCE_S
from fljob_runtime.roles.server_adapter import EXCHANGE_S, PULL_S, PUSH_S
from fljob_runtime.roles.shards import Limits as ShardDeadlines
from fljob_runtime.server.live import STEP_WAIT_S
from fljob_runtime.transport.conversion import MAX_LAYOUT_BYTES, MAX_TEXT
from fljob_runtime.transport.coordinator_service import MAX_QUEUED
from fljob_runtime.transport.credentials import CHUNK_BYTES, MAX_MESSAGE_BYTES
from fljob_runtime.transport.http import REQUEST_TIMEOUT_S
from fljob_runtime.transport.row_ids import MOST_IDS
from fljob_runtime.transport.shard_service import CALLS_PER_TRAINER, COORDINATOR_CALLS

HEADER = ("limit", "value", "set by", "past it")
_MALFORMED = "the call is refused, MalformedError"
_STREAM = "the trainer's stream is ended"


def rows() -> list[tuple[str, ...]]:
    """Return the table: what is limited, how far, where that is set, what happens past it."""
    return [*_sizes(), *_counts(), *_memory(), *_times()]


def _sizes() -> list[tuple[str, ...]]:
    return [
        ("a gRPC message", _bytes(MAX_MESSAGE_BYTES), "fixed", "gRPC ends the call, RESOURCE_EXHAUSTED"),
        ("payload of one chunk of a stream", _bytes(CHUNK_BYTES), "fixed", _MALFORMED),
        ("payload of a push", "what its header announces", "the model's layout", _MALFORMED),
        ("rows of a table in one push", "the table's rows, each once", "the model's layout", _MALFORMED),
        ("row ids in one pull or exchange", f"{MOST_IDS:,}", "fixed", f"trainers ask in several calls; {_MALFORMED}"),
        ("elements of one parameter", f"{MAX_ELEMENTS:,}", "fixed", "the layout is refused"),
        ("a model's layout", _bytes(MAX_LAYOUT_BYTES), "fixed", _MALFORMED),
        ("metric sums of one report, packed or not", _bytes(MAX_METRICS_BYTES), "fixed", _STREAM),
        (
            "cells of a histogram of scores",
            f"{MAX_MERGED_CELLS:,}",
            "fixed",
            f"of a report: {_STREAM}; merged: coarser",
        ),
        ("a text of a report", f"{MAX_TEXT:,} characters", "fixed", "it is cut"),
        ("a manifest file", _bytes(MAX_MANIFEST_BYTES), "fixed", "it is refused"),
    ]


def _counts() -> list[tuple[str, ...]]:
    spec = structural(FLJobSpec)["properties"]
    shards = spec["server"]["properties"]["replicas"]
    return [
        ("trainers of a job", _most(spec["trainers"], "maxItems"), "the CRD", "the FLJob is refused"),
        ("shards of a job", _most(shards, "maximum"), "`spec.server.replicas`", "the FLJob is refused"),
        ("clients that push", "the job's trainers", "`spec.trainers`", "the call is refused, IdentityError"),
        ("updates that a trainer has staged at a shard", "1", "fixed", "a newer one replaces it"),
        ("open pushes, pulls and exchanges of a trainer at a shard", str(CALLS_PER_TRAINER), "fixed", "BusyError"),
        (
            "calls that a shard serves at once",
            f"{CALLS_PER_TRAINER} for each trainer and {COORDINATOR_CALLS}",
            "`spec.trainers`",
            "they wait",
        ),
        ("streams of a trainer to the coordinator", "1", "fixed", "the newer one replaces it"),
        ("instructions queued for a trainer that reads none", str(MAX_QUEUED), "fixed", "its stream is ended"),
    ]


def _memory() -> list[tuple[str, ...]]:
    keep = structural(FLJobSpec)["properties"]["checkpoint"]["properties"]["keep"]["default"]
    return [
        (
            "memory of a shard's staged updates",
            _bytes(DEFAULT_MEMORY_BYTES),
            "`fljob-server --memory-bytes`",
            "updates go to scratch",
        ),
        (
            "the same, where a server has a memory limit",
            f"{UPDATES_SHARE:.0%} of the limit over {_bytes(SERVER_OWN_BYTES)}",
            "`spec.server.resources.limits.memory`",
            "updates go to scratch",
        ),
        (
            "scratch of a shard",
            "its volume",
            "`fljob-server --scratch-dir`; in a pod an emptyDir",
            "BusyError, the trainer tries again",
        ),
        ("memory of a container", "none", "`spec.<role>.resources.limits`", "killed; once more, then the job fails"),
        ("checkpoints kept", str(keep), "`spec.checkpoint.keep`", "the oldest is deleted; the best stays"),
        ("states of private parameters kept", "one more than twice `everyRounds`", "fixed", "deleted"),
        ("the coordinator's journal", "none: some lines a round", "", ""),
    ]


def _times() -> list[tuple[str, ...]]:
    spec = structural(FLJobSpec)["properties"]
    limits = ShardDeadlines(reach_s=0.0)
    return [
        ("a pull, a push, an exchange", f"{PULL_S:g} s, {PUSH_S:g} s, {EXCHANGE_S:g} s", "fixed", "tried again"),
        ("a step of StepSync that waits for others", f"{STEP_WAIT_S:g} s", "fixed", "the trainer asks again"),
        ("a commit", f"{limits.commit_s:g} s", "fixed", "tried again"),
        ("loading a checkpoint", f"{limits.load_s:g} s", "fixed", "tried again"),
        ("silence of a trainer", f"{SILENCE_S:g} s", "fixed", "its stream is ended, it counts as lost"),
        ("a request to the plain HTTP port", f"{REQUEST_TIMEOUT_S:g} s", "fixed", "the connection is closed"),
        *(_field(spec, name) for name in ("startupDeadlineSeconds", "roundTimeoutSeconds")),
        *(_field(spec, name) for name in ("suspendGracePeriodSeconds", "activeDeadlineSeconds")),
    ]


def _field(spec: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return the row of a field of the spec that is a time."""
    field = spec[name]
    value = f"{field['default']:,} s" if "default" in field else "none"
    return f"`spec.{name}`", value, "itself", field["description"]


def _most(schema: dict[str, Any], key: str) -> str:
    return f"{schema[key]:,}"


def _bytes(count: int) -> str:
    """Return a number of bytes in the largest unit that divides it."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count % size == 0:
            return f"{count // size} {unit}"
    return f"{count:,} bytes"
