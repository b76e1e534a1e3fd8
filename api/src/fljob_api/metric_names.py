"""Prometheus metrics of every program, in one table: name, type, labels, help.

The programs register what they export from here, `make generate` writes docs/reference/metrics.md from it,
and a test holds dashboards and alert rules against it: one number, one name, everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

PODS = ("namespace", "job")
COUNT_BUCKETS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096)
SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)


@dataclass(frozen=True)
class MetricName:
    """One metric family."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    program: str


def _of(program: str, *rows: tuple[str, str, str, tuple[str, ...]]) -> tuple[MetricName, ...]:
    return tuple(MetricName(name, kind, text, labels, program) for name, kind, text, labels in rows)


COORDINATOR = _of(
    "coordinator",
    ("fljob_round", "gauge", "Last committed round.", PODS),
    ("fljob_rounds_total_wanted", "gauge", "Rounds asked for.", PODS),
    (
        "fljob_round_seconds",
        "histogram",
        "Seconds from selecting a cohort to the committed and evaluated round.",
        PODS,
    ),
    ("fljob_loss", "gauge", "Global loss on held-out data after the last evaluated round.", PODS),
    ("fljob_auc", "gauge", "Global AUC on held-out data after the last evaluated round.", PODS),
    ("fljob_auc_bound", "gauge", "Bound on the error of fljob_auc.", PODS),
    ("fljob_train_loss", "gauge", "Mean training loss of the last committed round.", PODS),
    ("fljob_trainers_connected", "gauge", "Trainers with a live stream.", PODS),
    ("fljob_participants", "gauge", "Trainers whose update is in the last committed round.", PODS),
    (
        "fljob_stragglers_total",
        "counter",
        "Cohort members whose update was not in the committed round; in mode Buffered: dropped as too stale.",
        (*PODS, "trainer"),
    ),
    (
        "fljob_waiting_seconds",
        "gauge",
        "Age of the wait that the job is in, by name; 0 when it is not waiting.",
        (*PODS, "wait"),
    ),
    ("fljob_rounds_repeated_total", "counter", "Rounds repeated after a loss of server state.", PODS),
    ("fljob_progress_errors_total", "counter", "Writes of the progress object that failed.", PODS),
)
_SHARD = (*PODS, "shard")
SERVER = _of(
    "server",
    ("fljob_server_version", "gauge", "Newest committed version held.", _SHARD),
    ("fljob_server_received_bytes_total", "counter", "Payload bytes of updates received.", _SHARD),
    (
        "fljob_server_plain_bytes_total",
        "counter",
        "Bytes that the updates received have uncompressed, with 8 bytes for an id or a count.",
        _SHARD,
    ),
    ("fljob_server_sent_bytes_total", "counter", "Payload bytes of parameters sent.", _SHARD),
    (
        "fljob_server_received_rows_total",
        "counter",
        "Rows of tables in updates received, by table; of tables past the first 32: other.",
        (*_SHARD, "table"),
    ),
    ("fljob_server_sent_rows_total", "counter", "Rows of tables sent, by table as above.", (*_SHARD, "table")),
    ("fljob_server_pull_seconds", "histogram", "Seconds per pull.", _SHARD),
    ("fljob_server_push_seconds", "histogram", "Seconds per push.", _SHARD),
    (
        "fljob_server_commit_seconds",
        "histogram",
        "Seconds per commit: the fold.",
        _SHARD,
    ),
    ("fljob_server_exchange_seconds", "histogram", "Seconds per exchange within a round.", _SHARD),
    ("fljob_server_calls", "gauge", "Calls under way, by call (pull, push, exchange, commit).", (*_SHARD, "call")),
    (
        "fljob_server_staleness_updates",
        "histogram",
        "How often others changed the values between a trainer's read and its contribution, by the job's mode.",
        (*_SHARD, "mode"),
    ),
    (
        "fljob_server_stale_dropped_total",
        "counter",
        "Contributions left out because they were staler than strategy.maxStaleness.",
        _SHARD,
    ),
    ("fljob_server_folded_updates_total", "counter", "Updates and contributions folded into the values.", _SHARD),
    ("fljob_server_folded_bytes_total", "counter", "Bytes of float32 values folded.", _SHARD),
    ("fljob_server_fold_seconds_total", "counter", "Seconds spent folding.", _SHARD),
    ("fljob_server_staged_updates", "gauge", "Updates staged and not yet folded.", _SHARD),
    ("fljob_server_staged_bytes", "gauge", "Bytes of updates staged and not yet folded.", _SHARD),
    (
        "fljob_server_waiting_contributions",
        "gauge",
        "Contributions that wait for the others' of the same step (mode StepSync).",
        _SHARD,
    ),
    ("fljob_server_memory_bytes", "gauge", "Memory that updates take, those on their way in too.", _SHARD),
    (
        "fljob_server_memory_limit_bytes",
        "gauge",
        "Budget of that memory; updates past it are held in files.",
        _SHARD,
    ),
    ("fljob_server_spilled_bytes_total", "counter", "Bytes of updates held in files for want of memory.", _SHARD),
    ("fljob_server_rejected_total", "counter", "Messages refused, by reason.", (*_SHARD, "reason")),
    ("fljob_server_table_rows", "gauge", "Rows of shared tables held, by table as above.", (*_SHARD, "table")),
    (
        "fljob_server_table_bytes",
        "gauge",
        "Bytes of those rows, with the server optimizer's state of them.",
        (*_SHARD, "table"),
    ),
    (
        "fljob_server_keyed_rows_total",
        "counter",
        "Rows of keyed tables made, expired; contributions left out for want of touches (unadmitted), room (refused).",
        (*_SHARD, "table", "event"),
    ),
    ("fljob_server_checkpoint_timestamp_seconds", "gauge", "Unix time of the newest checkpoint.", _SHARD),
    ("fljob_server_checkpoint_duration_seconds", "gauge", "Seconds that the newest checkpoint took to write.", _SHARD),
    ("fljob_server_checkpoint_bytes", "gauge", "Bytes of the newest checkpoint.", _SHARD),
    ("fljob_server_checkpoints_total", "counter", "Checkpoints written: full ones and increments.", (*_SHARD, "kind")),
)
TRAINER = _of(
    "trainer",
    ("fljob_trainer_round", "gauge", "Round that the trainer last worked on.", (*PODS, "trainer")),
    (
        "fljob_trainer_loss",
        "gauge",
        "Local loss on held-out data after the last evaluated round.",
        (*PODS, "trainer"),
    ),
    (
        "fljob_trainer_auc",
        "gauge",
        "Local exact AUC on held-out data after the last evaluated round.",
        (*PODS, "trainer"),
    ),
    ("fljob_trainer_train_loss", "gauge", "Training loss so far in the running round.", (*PODS, "trainer")),
    ("fljob_trainer_samples_total", "counter", "Samples trained on.", (*PODS, "trainer")),
    ("fljob_trainer_train_seconds", "histogram", "Seconds of local training per round.", (*PODS, "trainer")),
    ("fljob_trainer_sent_bytes_total", "counter", "Payload bytes pushed.", (*PODS, "trainer")),
    ("fljob_trainer_received_bytes_total", "counter", "Payload bytes pulled.", (*PODS, "trainer")),
    (
        "fljob_trainer_reconnects_total",
        "counter",
        "Streams to the coordinator opened again.",
        (*PODS, "trainer"),
    ),
)
OPERATOR = _of(
    "operator",
    (
        "fljob_operator_reconcile_total",
        "counter",
        "Reconciles, by result (changed, unchanged, error).",
        ("result",),
    ),
    ("fljob_operator_reconcile_seconds", "histogram", "Seconds per reconcile.", ()),
    ("fljob_operator_queue_depth", "gauge", "Keys waiting for a worker.", ()),
    ("fljob_operator_queue_age_seconds", "gauge", "Age of the oldest key waiting.", ()),
    ("fljob_operator_watch_age_seconds", "gauge", "Seconds since the last event or list of any watch.", ()),
    ("fljob_operator_list_age_seconds", "gauge", "Seconds since the last full list.", ()),
    ("fljob_operator_jobs", "gauge", "FLJobs by state.", ("state",)),
    ("fljob_operator_children_applied_total", "counter", "Children applied, by kind.", ("kind",)),
    (
        "fljob_operator_api_requests_total",
        "counter",
        "API server requests, by verb and code.",
        ("verb", "code"),
    ),
    ("fljob_operator_leader", "gauge", "1 while this process holds the lease.", ()),
    ("fljob_job_info", "gauge", "1 for each FLJob, with its state and model.", (*PODS, "state", "model")),
    ("fljob_job_round", "gauge", "Last committed round of each FLJob, until it is gone.", PODS),
    ("fljob_job_loss", "gauge", "Last loss of each FLJob, until it is gone.", PODS),
    ("fljob_job_auc", "gauge", "Last AUC of each FLJob, until it is gone.", PODS),
    ("fljob_job_trainers_failed", "gauge", "Trainers that failed for good.", PODS),
    ("fljob_job_restarts", "gauge", "Restarts of pods after a crash.", PODS),
    (
        "fljob_job_progress_age_seconds",
        "gauge",
        "Seconds since a running FLJob's coordinator last reported.",
        PODS,
    ),
)
SCORER = _of(
    "scorer",
    (
        "fljob_scorer_requests_total",
        "counter",
        "Requests answered, by path (of gRPC the call; what is neither: other) and code (gRPC's: its name).",
        ("path", "code"),
    ),
    (
        "fljob_scorer_request_seconds",
        "histogram",
        "Seconds until a request is answered, by path as above; the wait for its body and for its turn are in it.",
        ("path",),
    ),
    (
        "fljob_scorer_rows_total",
        "counter",
        "Rows that the model scored, by call (score, top-k); of top-k each id that was ranked.",
        ("call",),
    ),
    (
        "fljob_scorer_model_info",
        "gauge",
        "1, with the model that is served: its name, the FLJob that trained it, and the round.",
        ("fljob", "model", "round"),
    ),
)
# Of jobs and their operator; a scorer is no part of either, and of no dashboard.
ALL: tuple[MetricName, ...] = (*COORDINATOR, *SERVER, *TRAINER, *OPERATOR)
