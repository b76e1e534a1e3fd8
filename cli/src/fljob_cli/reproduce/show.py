"""A comparison as a table for people, as Markdown, as JSON, and as a figure. Called by `command`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table as RichTable

from fljob_cli.reproduce.cells import Cell
from fljob_cli.reproduce.paired import Difference

# Student's t for a 95 % interval, by degrees of freedom; beyond, by `_student`.
_T = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_Z = 1.959964  # of the normal distribution
_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#9d755d", "#bab0ac")


@dataclass(frozen=True)
class Line:
    """One row over all its seeds.

    curve, losses: mean of the metric and of the loss after each pass; best: mean of each seed's best pass; half_width:
    half of the last one's interval, NaN of one seed. beside: how far its AUC is above that of the first line on the
    same examples, None where that is not looked at.
    """

    name: str
    curve: Sequence[float]
    best: float
    half_width: float
    last: Mapping[str, float]
    wall_s: float
    cpu_s: float
    num_bytes: float
    seeds: int
    losses: Sequence[float] = ()
    beside: Difference | None = None


def lines(metric: str, cells: Sequence[Cell], beside: Mapping[str, Difference] | None = None) -> list[Line]:
    """Return a line for each row, and for each site of a row that trains alone, in the table's order.

    beside: by row, how far its AUC is above that of the first row.
    """
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.row, cell.site), []).append(cell)
    found = beside or {}
    return [_line(metric, f"{row} {site}".strip(), group, found.get(row)) for (row, site), group in groups.items()]


def _line(metric: str, name: str, cells: Sequence[Cell], beside: Difference | None) -> Line:
    curves = [[done.get(metric, math.nan) for done in cell.passes] for cell in cells]
    losses = [[done.get("Loss", math.nan) for done in cell.passes] for cell in cells]
    names = set.intersection(*(set(cell.passes[-1]) for cell in cells))
    return Line(
        name=name,
        curve=[statistics.fmean(column) for column in zip(*curves, strict=True)],
        best=statistics.fmean(max(curve) for curve in curves),
        half_width=half_width([curve[-1] for curve in curves]),
        last={key: statistics.fmean(cell.passes[-1][key] for cell in cells) for key in sorted(names)},
        wall_s=statistics.fmean(cell.wall_s for cell in cells),
        cpu_s=statistics.fmean(cell.cpu_s for cell in cells),
        num_bytes=statistics.fmean(cell.num_bytes for cell in cells),
        seeds=len(cells),
        losses=[statistics.fmean(column) for column in zip(*losses, strict=True)],
        beside=beside,
    )


def half_width(values: Sequence[float]) -> float:
    """Return half of the 95 % interval of the mean (Student's t over the seeds); NaN of one value."""
    if len(values) < 2:
        return math.nan
    return _student(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def _student(freedom: int) -> float:
    """Return the quantile; from 11 degrees of freedom on to 2e-4, by Abramowitz and Stegun 1964, formula 26.7.5."""
    if freedom < len(_T):
        return _T[freedom]
    z, terms = _Z, 1.0 / (4.0 * freedom)
    first, second = z**3 + z, 5 * z**5 + 16 * z**3 + 3 * z
    third = 3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z
    return z + first * terms + second * terms**2 / 6.0 + third * terms**3 / 6.0


def rows(metric: str, made: Sequence[Line], also: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells as text: metric after each pass, its interval, others, seconds and megabytes.

    Of many passes some are shown, and the best.
    """
    shown = _shown(made)
    few = max(shown, default=0) > len(shown)
    best = ["best pass"] if few else []
    paired = [f"above {made[0].name}, paired 95 %"] if any(line.beside for line in made) else []
    headings = ["", *_numbered(metric, made), "± 95 %", *best, *paired, *also, "wall s", "CPU s", "MB"]
    body = [
        [
            line.name,
            *(f"{line.curve[number - 1]:.4f}" for number in shown),
            "-" if math.isnan(line.half_width) else f"{line.half_width:.4f}",
            *([f"{line.best:.4f}"] if few else []),
            *([str(line.beside or "-")] if paired else []),
            *(f"{line.last[name]:.4f}" if name in line.last else "-" for name in also),
            f"{line.wall_s:.0f}",
            f"{line.cpu_s:.0f}",
            f"{line.num_bytes / 1e6:.1f}" if line.num_bytes else "-",
        ]
        for line in made
    ]
    return headings, body


def _shown(made: Sequence[Line]) -> list[int]:
    """Return the passes that a table shows."""
    passes = max((len(line.curve) for line in made), default=0)
    return sorted({1, 2, 3, math.ceil(passes / 2), passes} & set(range(1, passes + 1)))


def _numbered(metric: str, made: Sequence[Line]) -> list[str]:
    shown = _shown(made)
    return [f"{metric} {number}" if max(shown) > 1 else metric for number in shown]


def terminal(metric: str, made: Sequence[Line], also: Sequence[str]) -> RichTable:
    """Return the table for a terminal."""
    headings, body = rows(metric, made, also)
    shown = RichTable(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        shown.add_column(heading, justify="right" if index else "left", no_wrap=True)
    for cells in body:
        shown.add_row(*cells)
    return shown


def markdown(metric: str, made: Sequence[Line], also: Sequence[str]) -> str:
    """Return the table in Markdown, and one of the loss after each pass where it was measured."""
    text = _markdown_table(*rows(metric, made, also))
    if all(math.isnan(loss) for line in made for loss in line.losses):
        return text
    losses = [[line.name, *(f"{line.losses[number - 1]:.4f}" for number in _shown(made))] for line in made]
    return f"{text}\n{_markdown_table(['', *_numbered('Loss', made)], losses)}"


def _markdown_table(headings: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    return "\n".join([*map(_markdown_row, (headings, ["---"] * len(headings), *body)), ""])


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def as_json(name: str, metric: str, made: Sequence[Line], cells: Sequence[Cell]) -> dict[str, Any]:
    """Return the object that `--output json` prints: means, and each run with all its metrics."""
    means = [
        {
            "row": line.name,
            "metric": metric,
            "passes": list(line.curve),
            "losses": [None if math.isnan(value) else value for value in line.losses],
            "best": line.best,
            "half_width": None if math.isnan(line.half_width) else line.half_width,
            "beside": vars(line.beside) if line.beside else None,
            "last": dict(line.last),
            "wall_s": line.wall_s,
            "cpu_s": line.cpu_s,
            "bytes": round(line.num_bytes),
            "seeds": line.seeds,
        }
        for line in made
    ]
    return {"table": name, "rows": means, "runs": [vars(cell) for cell in cells]}


def figure(metric: str, made: Sequence[Line]) -> str:
    """Return the curves as one SVG file: the metric and the loss after each pass, a line for each row."""
    from fljob_cli.report import svg  # noqa: PLC0415 - only where it is drawn

    wanted = [(metric, [line.curve for line in made]), ("Loss", [line.losses for line in made])]
    charts = [(name, chart) for name, curves in wanted if (chart := _chart(name, made, curves))]
    if not charts:
        return ""
    style = "text{font:11px sans-serif;fill:#555}.grid{stroke:#ddd}polyline{fill:none;stroke-width:2}"
    keys, head = [], 18  # of a chart, for its name
    below = len(charts) * (svg.HEIGHT + head)
    for index, line in enumerate(made):
        colour = _COLOURS[index % len(_COLOURS)]
        style += f"polyline.s{index}{{stroke:{colour}}}circle.s{index}{{fill:{colour}}}"
        at = below + 16 + 16 * index
        keys.append(f'<circle class="s{index}" cx="70" cy="{at - 4}" r="4"/><text x="80" y="{at}">{line.name}</text>')
    body = ""
    for number, (name, chart) in enumerate(charts):
        top = number * (svg.HEIGHT + head)
        place = f'<svg y="{top + head}" width="{svg.WIDTH}" height="{svg.HEIGHT}" '
        body += f'<text x="58" y="{top + 12}">{name}</text>' + chart.replace("<svg ", place, 1)
    size = f'viewBox="0 0 {svg.WIDTH} {below + 16 * len(keys) + 12}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>{body}{"".join(keys)}</svg>\n'


def _chart(name: str, made: Sequence[Line], curves: Sequence[Sequence[float]]) -> str:
    """Return a chart of one number after each pass; empty text where none was measured."""
    from fljob_cli.report import svg  # noqa: PLC0415 - only where it is drawn

    series = [
        svg.Series(line.name, f"s{index}", [(float(n), None if math.isnan(y) else y) for n, y in enumerate(curve, 1)])
        for index, (line, curve) in enumerate(zip(made, curves, strict=True))
    ]
    return svg.lines(series, label=f"{name} after each pass").replace(">round<", ">pass<")
