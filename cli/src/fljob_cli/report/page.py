"""Turns the record of a run into one HTML page: curves, sites, timings, configuration.

Called by `run` at every end and by `fljob report`. The page carries everything it needs: no script,
no font, no address outside.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from fljob_api.exit_codes import meaning
from fljob_cli import __version__
from fljob_cli.display import decimal, duration, size
from fljob_cli.record import Record, Round, SiteRound
from fljob_cli.report import svg


def write_report(run: Record, path: Path) -> Path:
    """Write the page and return its path."""
    path.write_text(render(run), encoding="utf-8")
    return path


def render(run: Record) -> str:
    """Return the page's HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("fljob_cli.report").joinpath("page.html").read_text("utf-8"))
    spec = run.manifest["spec"]
    return template.render(
        run=run,
        version=__version__,
        help=meaning(run.exit_code).help if run.exit_code else "",
        model_name=spec["model"]["name"],
        dataset_name=spec["dataset"]["name"],
        num_trainers=len(spec["trainers"]),
        seed=spec.get("seed", 0),
        cards=_cards(run),
        pooled=run.pooled,
        sites=_sites(run),
        rounds=[_round_row(run, entry) for entry in run.rounds],
        waits=_waits(run),
        configuration=yaml.safe_dump(run.manifest, sort_keys=False, width=100),
        no_numbers=Markup('<p class="soft">No round was measured.</p>'),
        **_charts(run),
    )


def _charts(run: Record) -> dict[str, Markup]:
    score = [svg.Series("federated", "federated", [(r.round, r.shown) for r in run.rounds])]
    if run.pooled:
        score.append(svg.Series("pooled", "pooled", [(r, _pooled_score(run, r)) for r in _pooled_rounds(run)]))
    loss = svg.Series("federated", "federated", [(r.round, r.loss) for r in run.rounds])
    trained = [r for r in run.rounds if r.round > 0]
    seconds = [(r.round, r.seconds) for r in trained]
    moved = [(r.round, float(r.bytes)) for r in trained]
    charts = {
        "score_chart": svg.lines(score, label=f"{run.headline} per round"),
        "loss_chart": svg.lines([loss], label="Loss per round"),
        "seconds_chart": svg.bars(seconds, label="Seconds per round", text=lambda s: f"{s:.3g} s"),
        "bytes_chart": svg.bars(moved, label="Bytes per round", text=size),
    }
    return {name: Markup(chart) for name, chart in charts.items()}  # noqa: S704 - our own SVG of numbers only


def _passes(run: Record) -> int:
    return int(run.manifest["spec"].get("strategy", {}).get("localEpochs") or 1)


def _pooled_rounds(run: Record) -> range:
    return range(1, len(run.pooled or ()) // _passes(run) + 1)


def _pooled_score(run: Record, number: int) -> float | None:
    return run.pooled[number * _passes(run) - 1] if run.pooled and number in _pooled_rounds(run) else None


def _cards(run: Record) -> list[tuple[str, str, str]]:
    measured = [r for r in run.rounds if r.shown is not None]
    trained = [r for r in run.rounds if r.round > 0]
    last = max([r.round for r in run.rounds], default=0)
    cards = [("Rounds", f"{last} of {run.manifest['spec']['rounds']}", "committed")]
    if measured:
        best = max(measured, key=lambda r: r.shown or 0.0)
        cards.append((run.headline, decimal(measured[-1].shown), f"best {decimal(best.shown)} in round {best.round}"))
        cards.append(("Loss", decimal(measured[-1].loss), f"from {decimal(measured[0].loss)}"))
    beside = _pooled_score(run, last)
    if beside is not None and measured:
        gap = (measured[-1].shown or 0) - beside
        cards.append((f"Pooled {run.headline}", decimal(beside), f"federated is {gap:+.4f}"))
    cards.append(("Time", duration(run.wall_s), "from command to end"))
    total = sum(r.bytes for r in trained)
    cards.append(("Model data", size(total), f"{sum(r.dropped for r in trained)} updates dropped"))
    return cards


def _round_row(run: Record, entry: Round) -> list[str]:
    row = [str(entry.round), decimal(entry.loss), decimal(entry.shown)]
    if run.pooled is not None:
        beside = _pooled_score(run, entry.round)
        gap = "-" if beside is None or entry.shown is None else f"{entry.shown - beside:+.4f}"
        row += [decimal(beside), gap]
    seconds = "-" if entry.seconds is None else f"{entry.seconds:.2f}"
    return [*row, str(entry.participants), str(entry.dropped), seconds, size(entry.bytes)]


def _sites(run: Record) -> list[dict[str, Any]]:
    slowest = _slowest_counts(run)
    means = {name: _mean_seconds(parts) for name, parts in run.sites.items()}
    longest = max((mean for mean in means.values() if mean is not None), default=0.0)
    rows = []
    for name, parts in run.sites.items():
        mean, seconds = means[name], [p.seconds for p in parts if p.seconds is not None]
        rows.append(
            {
                "name": name,
                "samples": f"{max((p.samples for p in parts), default=0):,}",
                "loss": decimal(parts[-1].loss if parts else None),
                "auc": decimal(parts[-1].auc if parts else None),
                "spark": Markup(svg.spark([p.auc for p in parts], label="AUC over rounds")),  # noqa: S704
                "mean_s": "-" if mean is None else f"{mean:.2f}",
                "max_s": f"{max(seconds):.2f}" if seconds else "-",
                "share": round(100 * mean / longest) if mean and longest else 0,
                "slowest": f"{slowest.get(name, 0)} rounds" if slowest.get(name, 0) != 1 else "1 round",
            }
        )
    return rows


def _mean_seconds(parts: tuple[SiteRound, ...]) -> float | None:
    seconds = [p.seconds for p in parts if p.seconds is not None]
    return sum(seconds) / len(seconds) if seconds else None


def _slowest_counts(run: Record) -> dict[str, int]:
    """Count for each site the rounds in which it took longest."""
    by_round: dict[int, list[tuple[float, str]]] = {}
    for name, parts in run.sites.items():
        for part in parts:
            if part.seconds is not None and part.round > 0:
                by_round.setdefault(part.round, []).append((part.seconds, name))
    counts: dict[str, int] = {}
    for entries in by_round.values():
        name = max(entries)[1]
        counts[name] = counts.get(name, 0) + 1
    return counts


def _waits(run: Record) -> list[tuple[str, str, int]]:
    longest = max(run.waits.values(), default=0.0)
    ordered = sorted(run.waits.items(), key=lambda item: -item[1])[:12]
    return [(name, f"{s:.1f}", round(100 * s / longest) if longest else 0) for name, s in ordered]
