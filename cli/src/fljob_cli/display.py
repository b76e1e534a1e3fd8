"""What a local run shows while it runs: one line per committed round and, on a terminal, a live line below it
with a bar, what the job is waiting for, and the trainers in trouble.

Called by `run`. Piped, it prints the same lines without colours and without the live part. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fljob_api.progress import Progress, Waiting
from fljob_cli.record import Record, Round

_TAIL = f"  {'trainers':>8}  {'dropped':>7}  {'seconds':>7}  {'traffic':>9}"
_SHOWN_IN_TROUBLE = 4
_TROUBLE = ("Lost", "Failed")


def header(pooled: bool, headline: str = "AUC") -> str:
    """Return the line of column names; with `pooled`, the headline metric of pooled training stands beside."""
    return f"{'round':>9}  {'loss':>7}  {headline:>7}" + (f"  {'pooled':>7}" if pooled else "") + _TAIL


def row(entry: Round, *, total: int, cohort: int, pooled: str | None, headline: str = "AUC") -> str:
    """Return one committed round as a line under `header`."""
    score = f"{decimal(entry.shown):>{max(len(headline), 7)}}"
    beside = "" if pooled is None else f"  {pooled:>7}"
    seconds = "-" if entry.seconds is None else f"{entry.seconds:.1f}"
    return (
        f"{entry.round:>4}/{total:<4}  {decimal(entry.loss):>7}  {score}{beside}"
        f"  {entry.participants:>5}/{cohort:<2}  {entry.dropped:>7}  {seconds:>7}  {size(entry.bytes):>9}"
    )


def decimal(value: float | None) -> str:
    """Return four decimals, or a dash for what was not measured."""
    return "-" if value is None else f"{value:.4f}"


def size(num_bytes: float) -> str:
    """Return a number of bytes with a unit that keeps it short (powers of 1000)."""
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} GB"


def duration(seconds: float) -> str:
    """Return seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def waiting(wait: Waiting, now: datetime) -> str:
    """Return what is waited for, for how long already, and until when at most."""
    what, _, who = wait.name.partition(": ")
    text = f"waiting for {what}"
    since = _time(wait.since)
    if since is not None:
        text += f" for {duration(max(0.0, (now - since).total_seconds()))}"
    deadline = _time(wait.deadline or "")
    if deadline is not None:
        text += f", at most {duration(max(0.0, (deadline - now).total_seconds()))} more"
    return f"{text}: {who}" if who else text


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def plain_console(*, stderr: bool = False) -> Console:
    """Return a console that shows text as it is: in paths and messages, brackets and colons are no markup."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


class Rounds:
    """The growing table and the live line; a context manager. `show` may be called from any one thread."""

    def __init__(self, console: Console, *, total: int, cohort: int, pooled: Callable[[int], str | None]) -> None:
        self._console = console
        self._total = total
        self._cohort = cohort
        self._pooled = pooled
        self._printed: set[int] = set()
        self._live = Live(console=console, transient=True, refresh_per_second=4) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
            self._live.update(Text("starting", style="dim"))
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, record: Record, progress: Progress) -> None:
        """Print the rounds that are new in the record and renew the live line."""
        last = max((entry.round for entry in record.rounds), default=0)
        for entry in record.rounds:
            measured = entry.loss is not None or entry.round < last
            if measured and entry.round not in self._printed:
                self._print(entry, record.headline)
        if self._live is not None:
            self._live.update(self._below(progress))

    def _print(self, entry: Round, headline: str) -> None:
        pooled = self._pooled(entry.round)
        if not self._printed:
            self._console.print(Text(header(pooled is not None, headline), style="bold"))
        self._printed.add(entry.round)
        line = row(entry, total=self._total, cohort=self._cohort, pooled=pooled, headline=headline)
        self._console.print(Text(line, style="yellow" if entry.dropped else ""), soft_wrap=True)

    def _below(self, progress: Progress) -> RenderableType:
        training = progress.training
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            Text(f"round {min(training.round + 1, training.total or 1)}"),
            ProgressBar(total=max(training.total, 1), completed=training.round, width=30),
            Text(training.state.value),
            Text(
                f"{training.connected} of {len(progress.trainers) or training.connected} trainers connected",
                style="dim",
            ),
        )
        lines: list[RenderableType] = [bar]
        if training.waiting_for is not None:
            wait = waiting(training.waiting_for, datetime.now(UTC))
            lines.append(Text(wait, style="dim", no_wrap=True, overflow="ellipsis"))
        lines.extend(_in_trouble(progress))
        return Group(*lines)


def _in_trouble(progress: Progress) -> list[Text]:
    """Name the trainers that are lost or failed, a few of them, each with its own words."""
    troubled = [t for t in progress.trainers if t.state in _TROUBLE]
    shown = [f"{t.name} {t.state.lower()}: {t.message}".rstrip(": ") for t in troubled[:_SHOWN_IN_TROUBLE]]
    more = [f"and {len(troubled) - len(shown)} more"] if len(troubled) > len(shown) else []
    return [Text(line, style="red", no_wrap=True, overflow="ellipsis") for line in shown + more]
