"""FLJobs as text: the page of `status`, the table of `list`. Pure: objects in, rich tables out.

Reads the status as plain data, so that it also shows what a newer operator writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fljob_api.exit_codes import meaning
from fljob_api.progress import RoundSummary, Waiting
from fljob_cli.display import duration, header, row, waiting
from fljob_cli.record import Round

Object = dict[str, Any]
_BAD_WHEN_TRUE = ("Degraded", "Failed")


def status_page(job: Object, now: datetime) -> RenderableType:
    """Return everything a person asks of one job: state, waits, failure, conditions, rounds, trainers."""
    parts: list[RenderableType] = [_headline(job, now)]
    status = job.get("status", {})
    training = status.get("training", {})
    if training.get("waitingFor") and not ended(job):
        wait = Waiting.from_dict(training["waitingFor"])
        parts.append(Text(waiting(wait, now), style="yellow"))
    if status.get("failure"):
        parts.append(_failure(status["failure"]))
    parts.append(_conditions(status.get("conditions", []), now))
    if training.get("recentRounds"):
        parts.append(_rounds(job))
    if status.get("trainers"):
        parts.append(_trainers(status))
    if training.get("modelUri"):
        parts.append(Text(f"model   fljob model get {job['metadata']['name']}", style="dim"))
    return Group(*parts)


def job_table(jobs: Sequence[Object], now: datetime, *, namespaces: bool) -> Table:
    """Return one line per job."""
    names = ["NAMESPACE"] * namespaces + ["NAME", "STATE", "ROUND", "TRAINERS", "LOSS", "SCORE", "AGE"]
    table = _table(*names)
    for job in jobs:
        display = job.get("status", {}).get("display", {})
        cells = [job["metadata"]["namespace"]] if namespaces else []
        cells += [job["metadata"]["name"], state(job)]
        cells += [display.get(key, "") for key in ("round", "trainers", "loss")]
        table.add_row(*cells, score(display), _age(job["metadata"].get("creationTimestamp", ""), now))
    return table


def score(display: Object) -> str:
    """Return the headline metric with its name."""
    told = str(display.get("score") or "") or (f"AUC={display['auc']}" if display.get("auc") else "")
    return told.replace("=", " ")


def state(job: Object) -> str:
    """Return the word of the State column."""
    return str(job.get("status", {}).get("state") or "Pending")


def condition(job: Object, kind: str) -> Object | None:
    """Return one condition of a job, if it is there."""
    found = [c for c in job.get("status", {}).get("conditions", []) if c["type"] == kind]
    return found[0] if found else None


def ended(job: Object) -> str:
    """Return Succeeded or Failed when that condition is true, else nothing."""
    for kind in ("Succeeded", "Failed"):
        found = condition(job, kind)
        if found is not None and found["status"] == "True":
            return kind
    return ""


def committed_rounds(job: Object) -> list[Round]:
    """Return the recent rounds in the status."""
    recent = job.get("status", {}).get("training", {}).get("recentRounds", [])
    return [Round.of(RoundSummary.from_dict(entry)) for entry in recent]


def round_line(job: Object, entry: Round) -> str:
    """Return one round as the line that `fljob run` prints too."""
    spec = job["spec"]
    return row(entry, total=spec["rounds"], cohort=len(spec["trainers"]), pooled=None, headline=headline(job))


def headline(job: Object) -> str:
    """Return the name of the rounds' score."""
    return str(job.get("status", {}).get("training", {}).get("headline") or "AUC")


def _headline(job: Object, now: datetime) -> Text:
    metadata, status = job["metadata"], job.get("status", {})
    colour = {"Succeeded": "green", "Failed": "red", "Invalid": "red", "Degraded": "yellow"}.get(state(job), "bold")
    text = Text(f"{metadata['namespace']}/{metadata['name']}  ")
    text.append(state(job), style=colour)
    display = status.get("display", {})
    for key, label in (("round", "round"), ("trainers", "trainers"), ("loss", "loss")):
        if display.get(key):
            text.append(f"  {label} {display[key]}")
    text.append(f"  {score(display)}" if score(display) else "")
    return text.append(f"  age {_age(metadata.get('creationTimestamp', ''), now)}", style="dim")


def _failure(failure: Object) -> Text:
    who = failure.get("trainer") or failure.get("role") or "job"
    code = failure.get("exitCode")
    text = Text(f"{who} failed: {failure['reason']}", style="red")
    if code is not None:
        text.append(f" (exit code {code})")
    if failure.get("message"):
        text.append(f"\n  {failure['message']}")
    return text.append(f"\n  {meaning(code).help}" if code else "", style="bold")


def _conditions(conditions: Sequence[Object], now: datetime) -> Table:
    table = _table("CONDITION", "STATUS", "REASON", "FOR", "MESSAGE")
    for entry in conditions:
        bad = (entry["status"] == "True") == (entry["type"] in _BAD_WHEN_TRUE)
        shown = "red" if entry["type"] in _BAD_WHEN_TRUE and bad else ""
        since = _age(entry.get("lastTransitionTime", ""), now)
        cells = (entry["type"], entry["status"], entry["reason"], since, entry.get("message", ""))
        table.add_row(*cells, style=shown)
    return table


def _rounds(job: Object) -> Text:
    lines = [round_line(job, entry) for entry in committed_rounds(job)]
    return Text("\n".join([header(False, headline(job)), *lines]))


def _trainers(status: Object) -> RenderableType:
    table = _table("TRAINER", "STATE", "ROUND", "LOSS", "AUC", "SAMPLES", "RESTARTS", "MESSAGE")
    for entry in status["trainers"]:
        cells = [entry.get(k, "") for k in ("name", "state", "round", "loss", "auc", "samples", "restarts", "message")]
        table.add_row(*(str(cell) for cell in cells), style="red" if entry.get("state") in ("Failed", "Lost") else "")
    more = (status.get("trainerCounts") or {}).get("desired", 0) - len(status["trainers"])
    return Group(table, Text(f"and {more} more", style="dim")) if more > 0 else table


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        wraps = name == "MESSAGE"
        table.add_column(name, overflow="fold" if wraps else "ellipsis", no_wrap=not wraps)
    return table


def _age(timestamp: str, now: datetime) -> str:
    if not timestamp:
        return ""
    return duration(max(0.0, (now - datetime.fromisoformat(timestamp)).total_seconds()))
