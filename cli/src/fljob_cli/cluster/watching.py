"""Commands that look at FLJobs: status, list, and the waiting of `submit --wait`. Called by `commands.cluster`."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live

from fljob_api.exit_codes import ExitCode, meaning
from fljob_cli.cluster import view
from fljob_cli.cluster.api import Cluster
from fljob_cli.display import header
from fljob_cli.errors import CliError


def list_jobs(cluster: Cluster, *, all_namespaces: bool, json_output: bool) -> None:
    """Print a line per job."""
    jobs = cluster.jobs(all_namespaces=all_namespaces)
    if json_output:
        sys.stdout.write(json.dumps({"items": jobs}) + "\n")
    elif jobs:
        _console().print(view.job_table(jobs, datetime.now(UTC), namespaces=all_namespaces))
    else:
        where = "in any namespace" if all_namespaces else f"in {cluster.namespace}; -A looks everywhere"
        sys.stderr.write(f"no FLJobs {where}\n")


def show(cluster: Cluster, name: str, *, follow: bool, json_output: bool) -> None:
    """Print the page of one job, with `follow` anew at each change until the job ends."""
    now = cluster.get(name)
    if not follow:
        if json_output:
            sys.stdout.write(json.dumps(now) + "\n")
        else:
            _console().print(view.status_page(now, datetime.now(UTC)))
        return
    console = _console()
    if json_output or not console.is_terminal:
        _follow_lines(cluster, name, json_output=json_output)
        return
    with Live(console=console, auto_refresh=False) as live:
        for job in cluster.follow(name):
            if job is None:
                continue
            live.update(view.status_page(job, datetime.now(UTC)), refresh=True)
            if view.ended(job):
                return


def _follow_lines(cluster: Cluster, name: str, *, json_output: bool) -> None:
    last = ""
    for job in cluster.follow(name):
        if job is None:
            continue
        display = job.get("status", {}).get("display", {})
        words = [f"{key} {display[key]}" for key in ("round", "trainers", "loss") if display.get(key)]
        line = json.dumps(job) if json_output else "  ".join([view.state(job), *words, view.score(display)]).rstrip()
        if line != last:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        last = line
        if view.ended(job):
            return


def wait(cluster: Cluster, name: str, *, timeout_s: int) -> int:
    """Print rounds until the job ends, and return 0 or the exit code of its failure."""
    deadline = time.monotonic() + timeout_s
    printed: set[int] = set()
    for job in cluster.follow(name):
        if job is not None:
            for entry in view.committed_rounds(job):
                if entry.round not in printed and entry.loss is not None:
                    _print(header(False, view.headline(job)) if not printed else "", view.round_line(job, entry))
                    printed.add(entry.round)
            if end := view.ended(job):
                return _ended(job, end)
            invalid = view.condition(job, "Accepted")
            if invalid is not None and invalid["status"] == "False":
                raise CliError(f"FLJob {name} is not accepted: {invalid.get('message', invalid['reason'])}")
        if time.monotonic() > deadline:
            raise CliError(
                f"FLJob {name} has not ended in {timeout_s} s",
                code=ExitCode.TEMPORARY,
                hint=f"it goes on in the cluster: `fljob status {name}`",
            )
    raise CliError(f"FLJob {name} was deleted while it ran")


def _print(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines if line))
    sys.stdout.flush()


def _ended(job: dict[str, object], end: str) -> int:
    if end == "Succeeded":
        _print("Succeeded")
        return int(ExitCode.DONE)
    status = job["status"]
    failure = status.get("failure", {}) if isinstance(status, dict) else {}
    found = view.condition(job, "Failed") or {}
    reason, message = found.get("reason", "Failed"), found.get("message") or failure.get("message", "")
    code = failure.get("exitCode") or int(ExitCode.CRASH)
    _print(f"Failed: {reason}: {message}", f"  {meaning(code).help}")
    return int(code)


def _console() -> Console:
    return Console(highlight=False)
