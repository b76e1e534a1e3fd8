"""The contents of the chart's Grafana dashboards: panels and their queries.

Read by tools/generate_chart.py, which writes each into charts/fljob/files/dashboards. Queries may use only metrics of
fljob_api.metric_names; a test holds them to it, and one on a real cluster wants series for each.
"""

from __future__ import annotations

from grafana import Dashboard, Panel, Query, Row, Variable

JOB = 'namespace="$namespace",job="$job"'
ALL = 'namespace=~"$namespace"'
EACH_JOB = "by (namespace, job)"
_CALLS = ("pull", "push", "exchange", "commit")
_SHARDS = "shard {{shard}}"
ONE_JOB = "/d/fljob-job?var-namespace=${__data.fields.namespace}&var-job=${__data.fields.job}"


def _stat(title: str, expr: str, *, unit: str = "short", decimals: int = 0, note: str = "") -> Panel:
    return Panel(title, (Query(expr),), kind="stat", unit=unit, decimals=decimals, width=3, height=4, note=note)


def _graph(title: str, *queries: tuple[str, str], unit: str = "short", width: int = 8, note: str = "") -> Panel:
    return Panel(title, tuple(Query(*query) for query in queries), unit=unit, width=width, note=note)


def _job(metric: str, by: str = "", fold: str = "max") -> str:
    """Fold a gauge of the chosen job: two pods may overlap for a scrape."""
    grouping = f" by ({by})" if by else ""
    return f"{fold}{grouping} ({metric}{{{JOB}}})"


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{JOB}}}[$__rate_interval]))"


def _mean(histogram: str, by: str) -> str:
    return f"{_rate(histogram + '_sum', by)} / {_rate(histogram + '_count', by)}"


def _quantile(quantile: str, histogram: str) -> str:
    return f"histogram_quantile({quantile}, {_rate(histogram + '_bucket', 'le')})"


def _each(metric: str, fold: str = "max") -> str:
    return f"{fold} {EACH_JOB} ({metric}{{{ALL}}})"


def _operator_rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}[$__rate_interval]))"


_JOB_LEGEND = "{{namespace}}/{{job}}"

_JOB_NOW = Row(
    "Now",
    (
        _stat("Round", _job("fljob_job_round")),
        _stat("of", _job("fljob_rounds_total_wanted")),
        _stat("Loss", _job("fljob_job_loss"), decimals=4),
        _stat("AUC", _job("fljob_job_auc"), decimals=4),
        _stat("Trainers connected", _job("fljob_trainers_connected")),
        _stat("Failed for good", _job("fljob_job_trainers_failed")),
        _stat("Restarts", _job("fljob_job_restarts")),
        _stat(
            "Last report",
            _job("fljob_job_progress_age_seconds"),
            unit="s",
            note="Age of the coordinator's last report to the operator.",
        ),
    ),
)
_JOB_LEARNING = Row(
    "Learning",
    (
        _graph(
            "Loss",
            (_job("fljob_loss"), "held out"),
            (_job("fljob_train_loss"), "training"),
            note="Held out: over all sites after the last evaluated round. Training: mean of the last round.",
        ),
        _graph(
            "AUC",
            (_job("fljob_auc"), "AUC"),
            (_job("fljob_auc_bound"), "bound on its error"),
            note="Global AUC from the sites' summed histograms; the bound says how far off it may be.",
        ),
        _graph("Round", (_job("fljob_round"), "committed"), (_job("fljob_rounds_total_wanted"), "wanted")),
        _graph("AUC per site", (_job("fljob_trainer_auc", "trainer"), "{{trainer}}"), width=12),
        _graph("Loss per site", (_job("fljob_trainer_loss", "trainer"), "{{trainer}}"), width=12),
    ),
)
_JOB_TIME = Row(
    "Rounds and waits",
    (
        _graph(
            "Round time",
            (_mean("fljob_round_seconds", "job"), "mean"),
            (_quantile("0.95", "fljob_round_seconds"), "95 %"),
            unit="s",
        ),
        _graph(
            "Participants",
            (_job("fljob_participants"), "in the round"),
            (_job("fljob_trainers_connected"), "connected"),
        ),
        _graph(
            "Waiting for",
            (_job("fljob_waiting_seconds", "wait"), "{{wait}}"),
            unit="s",
            note="Age of the wait that the job is in. See the runbook: My job hangs.",
        ),
        _graph(
            "Stragglers per site",
            (f"sum by (trainer) (increase(fljob_stragglers_total{{{JOB}}}[$__rate_interval]))", "{{trainer}}"),
            note="Rounds that were committed without this site's update.",
        ),
        _graph("Training time per site", (_mean("fljob_trainer_train_seconds", "trainer"), "{{trainer}}"), unit="s"),
        _graph("Round of each site", (_job("fljob_trainer_round", "trainer"), "{{trainer}}")),
        _graph(
            "Samples per second per site",
            (_rate("fljob_trainer_samples_total", "trainer"), "{{trainer}}"),
            width=12,
        ),
        _graph(
            "Training loss in the round",
            (_job("fljob_trainer_train_loss", "trainer"), "{{trainer}}"),
            width=12,
        ),
    ),
)
_JOB_WIRE = Row(
    "Bytes",
    (
        _graph(
            "Server traffic",
            (_rate("fljob_server_received_bytes_total", "shard"), "received by shard {{shard}}"),
            (_rate("fljob_server_sent_bytes_total", "shard"), "sent by shard {{shard}}"),
            unit="Bps",
            note="Payload of updates and parameters; framing and TLS come on top.",
        ),
        _graph("Sent per site", (_rate("fljob_trainer_sent_bytes_total", "trainer"), "{{trainer}}"), unit="Bps"),
        _graph(
            "Received per site",
            (_rate("fljob_trainer_received_bytes_total", "trainer"), "{{trainer}}"),
            unit="Bps",
        ),
        _graph("Rows pushed", (_rate("fljob_server_received_rows_total", "table"), "{{table}}"), unit="rps"),
        _graph("Rows pulled", (_rate("fljob_server_sent_rows_total", "table"), "{{table}}"), unit="rps"),
        _graph(
            "Compression of updates",
            (
                f"{_rate('fljob_server_plain_bytes_total', 'shard')}"
                f" / {_rate('fljob_server_received_bytes_total', 'shard')}",
                "shard {{shard}}",
            ),
            note="How many times larger the updates would be as plain numbers: packed ids and strategy.compression.",
        ),
    ),
)
_JOB_SERVER = Row(
    "Parameter server",
    (
        _graph(
            "Server calls",
            (_mean("fljob_server_pull_seconds", "job"), "pull"),
            (_mean("fljob_server_push_seconds", "job"), "push"),
            (_mean("fljob_server_commit_seconds", "job"), "commit"),
            (_mean("fljob_server_exchange_seconds", "job"), "exchange"),
            unit="s",
            note="Mean seconds per call.",
        ),
        _graph(
            "Slowest server calls",
            *((_quantile("0.99", f"fljob_server_{call}_seconds"), call) for call in _CALLS),
            unit="s",
            note="99 % of the calls took no longer.",
        ),
        _graph(
            "Calls under way",
            (_job("fljob_server_calls", "shard, call"), "{{call}} at shard {{shard}}"),
            note="Those that wait for a lock or for the other trainers' step are under way too.",
        ),
        _graph(
            "Fold rate",
            (
                f"{_rate('fljob_server_folded_bytes_total', 'shard')}"
                f" / {_rate('fljob_server_fold_seconds_total', 'shard')}",
                _SHARDS,
            ),
            unit="Bps",
            note="Bytes of float32 values folded per second spent folding.",
        ),
        _graph("Updates folded", (_rate("fljob_server_folded_updates_total", "shard"), _SHARDS), unit="cps"),
        _graph(
            "Updates that wait",
            (_job("fljob_server_staged_updates", "shard"), "staged at shard {{shard}}"),
            (_job("fljob_server_waiting_contributions", "shard"), "for their step at shard {{shard}}"),
            note="Staged: held until the commit of their round. For their step: mode StepSync.",
        ),
        _graph(
            "Memory of updates",
            (_job("fljob_server_memory_bytes", "shard"), "used by shard {{shard}}"),
            (_job("fljob_server_staged_bytes", "shard"), "staged at shard {{shard}}"),
            (_job("fljob_server_memory_limit_bytes"), "budget"),
            unit="bytes",
        ),
        _graph(
            "Updates held in files",
            (_rate("fljob_server_spilled_bytes_total", "shard"), _SHARDS),
            unit="Bps",
            note="Past the memory budget updates go to the scratch volume, which is slower.",
        ),
        _graph("Version", (_job("fljob_server_version", "shard"), _SHARDS)),
        _graph(
            "Staleness",
            (_mean("fljob_server_staleness_updates", "shard, mode"), "{{mode}}, shard {{shard}}"),
            (_quantile("0.99", "fljob_server_staleness_updates"), "99 %"),
            note="Changes by others between a trainer's read and its contribution (StepSync, Async, Geo, Buffered).",
        ),
        _graph(
            "Left out as too stale",
            (_rate("fljob_server_stale_dropped_total", "shard"), _SHARDS),
            unit="cps",
            note="Contributions staler than strategy.maxStaleness, per second.",
        ),
        _graph("Rows held", (_job("fljob_server_table_rows", "table, shard"), "{{table}} at shard {{shard}}")),
        _graph(
            "Bytes of tables",
            (_job("fljob_server_table_bytes", "table, shard"), "{{table}} at shard {{shard}}"),
            unit="bytes",
            note="With the server optimizer's state of the rows.",
        ),
        _graph(
            "Rows that come and go",
            (_rate("fljob_server_keyed_rows_total", "table, event"), "{{table}} {{event}}"),
            unit="cps",
            note="Of tables with keys Any, per second: made, expired; left out for want of touches, or of room.",
        ),
        _graph(
            "Age of the checkpoint",
            (f"time() - max by (shard) (fljob_server_checkpoint_timestamp_seconds{{{JOB}}} > 0)", _SHARDS),
            unit="s",
        ),
        _graph("Time of a checkpoint", (_job("fljob_server_checkpoint_duration_seconds", "shard"), _SHARDS), unit="s"),
        _graph("Size of a checkpoint", (_job("fljob_server_checkpoint_bytes", "shard"), _SHARDS), unit="bytes"),
        _graph(
            "Checkpoints",
            (_job("fljob_server_checkpoints_total", "shard, kind"), "{{kind}} of shard {{shard}}"),
            note="Written since the shard's process began.",
        ),
    ),
)
_JOB_TROUBLE = Row(
    "Trouble",
    (
        _graph("Restarts", (_job("fljob_job_restarts"), "after a crash")),
        _graph(
            "Reconnects per site",
            (
                f"sum by (trainer) (increase(fljob_trainer_reconnects_total{{{JOB}}}[$__rate_interval]))",
                "{{trainer}}",
            ),
        ),
        _graph(
            "Messages refused",
            (
                f"sum by (reason) (increase(fljob_server_rejected_total{{{JOB}}}[$__rate_interval]))",
                "{{reason}}",
            ),
        ),
        _graph("Rounds repeated", (_job("fljob_rounds_repeated_total"), "after a loss of server state")),
        _graph("Progress not written", (_job("fljob_progress_errors_total"), "failed writes")),
    ),
)

_OVERVIEW_NOW = Row(
    "Now",
    (
        Panel(
            "Jobs by state",
            (Query("sum by (state) (fljob_operator_jobs)", "{{state}}"),),
            kind="bargauge",
            width=6,
        ),
        Panel(
            "Jobs",
            (Query(f"max by (namespace, job, state, model) (fljob_job_info{{{ALL}}})"),),
            kind="table",
            width=18,
            note="One line for each FLJob that is still there; its name leads to its dashboard.",
            links=(("job", ONE_JOB),),
        ),
    ),
)
_OVERVIEW_JOBS = Row(
    "Jobs",
    (
        _graph("Loss", (_each("fljob_job_loss"), _JOB_LEGEND)),
        _graph("AUC", (_each("fljob_job_auc"), _JOB_LEGEND)),
        _graph("Round", (_each("fljob_job_round"), _JOB_LEGEND)),
        _graph("Trainers failed for good", (_each("fljob_job_trainers_failed"), _JOB_LEGEND)),
        _graph("Restarts", (_each("fljob_job_restarts"), _JOB_LEGEND)),
        _graph("Age of the last report", (_each("fljob_job_progress_age_seconds"), _JOB_LEGEND), unit="s"),
        _graph("Longest wait", (_each("fljob_waiting_seconds"), _JOB_LEGEND), unit="s", width=12),
        _graph(
            "Bytes through the servers",
            (
                f"sum {EACH_JOB} (rate(fljob_server_received_bytes_total{{{ALL}}}[$__rate_interval]))"
                f" + sum {EACH_JOB} (rate(fljob_server_sent_bytes_total{{{ALL}}}[$__rate_interval]))",
                _JOB_LEGEND,
            ),
            unit="Bps",
            width=12,
        ),
    ),
)
_OVERVIEW_OPERATOR = Row(
    "Operator",
    (
        _graph("Reconciles per second", (_operator_rate("fljob_operator_reconcile_total", "result"), "{{result}}")),
        _graph(
            "Reconcile time",
            (
                f"histogram_quantile(0.5, {_operator_rate('fljob_operator_reconcile_seconds_bucket', 'le')})",
                "50 %",
            ),
            (
                f"histogram_quantile(0.99, {_operator_rate('fljob_operator_reconcile_seconds_bucket', 'le')})",
                "99 %",
            ),
            unit="s",
        ),
        _graph(
            "Queue",
            ("max(fljob_operator_queue_depth)", "keys waiting"),
            ("max(fljob_operator_queue_age_seconds)", "age of the oldest (s)"),
        ),
        _graph(
            "Age of what it knows",
            ("min(fljob_operator_watch_age_seconds)", "last event or list"),
            ("min(fljob_operator_list_age_seconds)", "last full list"),
            unit="s",
        ),
        _graph(
            "API requests per second",
            (_operator_rate("fljob_operator_api_requests_total", "verb, code"), "{{verb}} {{code}}"),
        ),
        _graph(
            "Children applied per second",
            (_operator_rate("fljob_operator_children_applied_total", "kind"), "{{kind}}"),
        ),
        _graph("Leaders", ("sum(fljob_operator_leader)", "leaders"), width=24),
    ),
)

DASHBOARDS = (
    Dashboard(
        uid="fljob-jobs",
        title="FLJob / Jobs",
        variables=(Variable("namespace", "label_values(fljob_job_info, namespace)", several=True),),
        rows=(_OVERVIEW_NOW, _OVERVIEW_JOBS, _OVERVIEW_OPERATOR),
    ),
    Dashboard(
        uid="fljob-job",
        title="FLJob / One job",
        variables=(
            Variable("namespace", "label_values(fljob_job_info, namespace)"),
            Variable("job", 'label_values(fljob_job_info{namespace="$namespace"}, job)'),
        ),
        rows=(_JOB_NOW, _JOB_LEARNING, _JOB_TIME, _JOB_WIRE, _JOB_SERVER, _JOB_TROUBLE),
    ),
)
