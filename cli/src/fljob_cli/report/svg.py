"""Charts as inline SVG text: lines over rounds, bars per round, and bars, stacks and a heat map of named things.

Called by `page` and `data`. Names come escaped. Colours are classes, so that the page's style gives them in light and
dark. No numbers are made up: a value that was not measured leaves a gap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 34
_TICKS = 5
_NAMES, _WIDE, _ROW = 110, 450, 22  # of bars to the right: room for names, of the longest bar, of one bar
_LABELLED = 14  # names of a heat map that leaves room for numbers


@dataclass(frozen=True)
class Series:
    """One line of a chart: a name, its style class, and (x, y) points; y None is a gap."""

    name: str
    style: str
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True)
class Axis:
    """Maps values onto pixels, with ticks at round numbers."""

    low: float
    high: float
    first_px: float
    last_px: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.first_px + share * (self.last_px - self.first_px)


def axis(values: Sequence[float], first_px: float, last_px: float, *, zero: bool = False) -> Axis:
    """Return an axis that holds all values and begins and ends at a tick; `zero` makes it begin at 0."""
    low, high = min(values), max(values)
    low = 0.0 if zero else low
    if high <= low:
        low, high = (0.0, max(high, 1.0)) if zero else (low - 0.5, low + 0.5)
    step = _nice((high - low) / _TICKS)
    first, last = math.floor(low / step), math.ceil(high / step)
    ticks = tuple(round(i * step, 10) for i in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], first_px, last_px, ticks)


def _nice(step: float) -> float:
    """Return the next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * 0.999)


def lines(series: Sequence[Series], *, label: str) -> str:
    """Return a line chart over rounds; empty text when there is nothing to draw."""
    ys = [y for one in series for _, y in one.points if y is not None]
    if not ys:
        return ""
    xs = [x for one in series for x, _ in one.points]
    x_axis = _rounds_axis(min(xs), max(xs))
    y_axis = axis(ys, HEIGHT - _BOTTOM, _TOP)
    body = "".join(_line(one, x_axis, y_axis) for one in series)
    return _frame(label, x_axis, y_axis, body, f"{{:.{_decimals(y_axis)}f}}".format)


def bars(values: Sequence[tuple[int, float | None]], *, label: str, text: Callable[[float], str]) -> str:
    """Return one bar per round; empty text when there is nothing to draw."""
    known = [(x, y) for x, y in values if y is not None]
    if not known:
        return ""
    x_axis = _rounds_axis(values[0][0], values[-1][0], margin=0.5)
    y_axis = axis([y for _, y in known], HEIGHT - _BOTTOM, _TOP, zero=True)
    width = max(2.0, 0.7 * (x_axis.last_px - x_axis.first_px) / max(1.0, x_axis.high - x_axis.low))
    width = min(width, 48.0)
    body = "".join(
        f'<rect class="bar" x="{x_axis.at(x) - width / 2:.1f}" y="{y_axis.at(y):.1f}" width="{width:.1f}" '
        f'height="{max(0.0, y_axis.at(0) - y_axis.at(y)):.1f}" rx="2">'
        f"<title>round {x}: {text(y)}</title></rect>"
        for x, y in known
    )
    return _frame(label, x_axis, y_axis, body, text)


def named_bars(values: Sequence[tuple[str, float]], *, label: str, text: Callable[[float], str]) -> str:
    """Return one bar to the right for each name."""
    most = max((value for _, value in values), default=0.0) or 1.0
    parts = []
    for row, (name, value) in enumerate(values):
        width, y = _WIDE * value / most, _ROW * row
        parts.append(_name(name, y + 15))
        parts.append(f'<rect class="bar" x="{_NAMES}" y="{y + 3}" width="{width:.1f}" height="{_ROW - 6}" rx="2"/>')
        parts.append(f'<text class="tick" x="{_NAMES + width + 6:.1f}" y="{y + 15}">{text(value)}</text>')
    return _named(label, _ROW * len(values), parts)


def stacked(values: Sequence[tuple[str, Sequence[int]]], *, label: str, styles: int) -> str:
    """Return for each name a bar of its counts' shares; classes `class-0` to `class-(styles - 1)` come in turn."""
    parts = []
    for row, (name, counts) in enumerate(values):
        left, total, y = float(_NAMES), max(sum(counts), 1), _ROW * row
        parts.append(_name(name, y + 15))
        for index, count in enumerate(counts):
            width = _WIDE * count / total
            place = f'x="{left:.1f}" y="{y + 3}" width="{width:.1f}" height="{_ROW - 6}"'
            title = f"<title>{name}, label {index}: {count:,} ({count / total:.1%})</title>"
            parts.append(f'<rect class="class-{index % styles}" {place}>{title}</rect>' if count else "")
            left += width
    return _named(label, _ROW * len(values), parts)


def heat(names: Sequence[str], shares: Sequence[Sequence[float]], *, label: str) -> str:
    """Return a square of cells, the darker the nearer a share [names, names] is to 1; numbers where there is room."""
    side = (WIDTH - _NAMES) / max(len(names), 1)
    height = min(side, 28.0)
    parts = []
    for row, name in enumerate(names):
        parts.append(_name(name, height * (row + 0.65)))
        for column, share in enumerate(shares[row]):
            x, y = _NAMES + side * column, height * row
            place = f'x="{x:.1f}" y="{y:.1f}" width="{side:.1f}" height="{height:.1f}"'
            title = f"<title>{name} with {names[column]}: {share:.1%}</title>"
            parts.append(f'<rect class="heat" {place} fill-opacity="{0.04 + 0.66 * share:.3f}">{title}</rect>')
            if len(names) <= _LABELLED:
                middle = f'x="{x + side / 2:.1f}" y="{y + height * 0.65:.1f}"'
                parts.append(f'<text class="names" {middle} text-anchor="middle">{share:.0%}</text>')
    return _named(label, height * len(names), parts)


def _name(name: str, y: float) -> str:
    return f'<text class="names" x="{_NAMES - 8}" y="{y:.1f}" text-anchor="end">{name}</text>'


def _named(label: str, height: float, parts: Sequence[str]) -> str:
    view = f'viewBox="0 0 {WIDTH} {max(height, 1):.0f}"'
    return f'<svg class="chart" {view} role="img" aria-label="{label}">{"".join(parts)}</svg>'


def spark(values: Sequence[float | None], *, label: str) -> str:
    """Return a small line without axes."""
    points = [(float(i), v) for i, v in enumerate(values) if v is not None]
    if len(points) < 2:
        return ""
    x_axis = Axis(points[0][0], points[-1][0], 2, 88, ())
    y_axis = axis([v for _, v in points], 18, 2)
    path = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in points)
    return (
        f'<svg class="spark" viewBox="0 0 90 20" role="img" aria-label="{label}">'
        f'<polyline class="federated" points="{path}"/></svg>'
    )


def _rounds_axis(first: float, last: float, *, margin: float = 0.0) -> Axis:
    step = max(1, math.ceil((last - first + 1) / 12))
    ticks = tuple(float(x) for x in range(math.ceil(first), math.floor(last) + 1, step))
    low, high = (first - margin, last + margin) if last + margin > first - margin else (first - 0.5, last + 0.5)
    return Axis(low, high, _LEFT, WIDTH - _RIGHT, ticks)


def _decimals(y_axis: Axis) -> int:
    step = y_axis.ticks[1] - y_axis.ticks[0]
    return max(0, -math.floor(math.log10(step) + 1e-9))


def _line(one: Series, x_axis: Axis, y_axis: Axis) -> str:
    runs: list[list[str]] = [[]]
    marks = []
    for x, y in one.points:
        if y is None:
            runs.append([])
            continue
        px, py = x_axis.at(x), y_axis.at(y)
        runs[-1].append(f"{px:.1f},{py:.1f}")
        marks.append(
            f'<circle class="{one.style}" cx="{px:.1f}" cy="{py:.1f}" r="3">'
            f"<title>{one.name}, round {x:g}: {y:.4f}</title></circle>"
        )
    paths = "".join(f'<polyline class="{one.style}" points="{" ".join(run)}"/>' for run in runs if run)
    return paths + ("".join(marks) if len(marks) <= 120 else "")


def _frame(label: str, x_axis: Axis, y_axis: Axis, body: str, text: Callable[[float], str]) -> str:
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">']
    for tick in y_axis.ticks:
        y = y_axis.at(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text(tick)}</text>')
    for tick in x_axis.ticks:
        x = x_axis.at(tick)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 14}" text-anchor="middle">{tick:g}</text>')
    parts.append(
        f'<text class="tick" x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 1}" text-anchor="middle">round</text>'
    )
    return "".join([*parts, body, "</svg>"])
