"""Turns the description of sites into one HTML page: sizes, labels, and ids in common. Called by `datasets`.

The page carries everything it needs, as that of a run does, and has its looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from fljob_cli import __version__
from fljob_cli.report import svg
from fljob_cli.split import grouped

if TYPE_CHECKING:
    from fljob_runtime.data.describe import SiteDescription
    from fljob_runtime.data.overlap import Overlap

_SHADES = 16  # of classes, after which they begin anew


def write_data_report(
    path: Path, sites: Sequence[SiteDescription], distances: Sequence[float], overlaps: Sequence[Overlap]
) -> None:
    """Write the page."""
    path.write_text(render(sites, distances, overlaps), encoding="utf-8")


def render(sites: Sequence[SiteDescription], distances: Sequence[float], overlaps: Sequence[Overlap]) -> str:
    """Return the page's HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    folder = files("fljob_cli.report")
    style = folder.joinpath("page.html").read_text("utf-8").partition("<style>")[2].partition("</style>")[0]
    first = sites[0].manifest
    samples = [(str(escape(site.manifest.site)), float(site.manifest.num_samples)) for site in sites]
    counted = sum(site.manifest.num_samples for site in sites)
    notes = {site.manifest.notes for site in sites}
    return environment.from_string(folder.joinpath("data.html").read_text("utf-8")).render(
        version=__version__,
        style=Markup(style),  # noqa: S704 - our own page's
        dataset=first.dataset,
        summary=f"{len(sites)} sites · {counted:,} examples an epoch"
        + "".join(f" · {n}" for n in notes if len(notes) == 1),
        shades=[f"hsl({205 + 360 * i // _SHADES} 62% {52 + 9 * (i % 2)}%)" for i in range(_SHADES)],
        sizes=_svg(svg.named_bars(samples, label="Examples by site", text="{:,.0f}".format)),
        labels=_labels(sites) if distances else "",
        rows=[_row(site, distance) for site, distance in zip(sites, distances, strict=False)],
        overlaps=[_overlap(one, sites) for one in overlaps],
    )


def _svg(text: str) -> Markup:
    return Markup(text)  # noqa: S704 - our own SVG of numbers, and of names that are escaped


def _labels(sites: Sequence[SiteDescription]) -> Markup:
    rows = [(str(escape(site.manifest.site)), site.label_counts) for site in sites]
    return _svg(svg.stacked(rows, label="Labels by site", styles=_SHADES))


def _row(site: SiteDescription, distance: float) -> tuple[str, ...]:
    counts = site.label_counts
    top = max(range(len(counts)), key=counts.__getitem__, default=0)
    share = f"{top} ({counts[top] / max(sum(counts), 1):.0%})" if counts else "-"
    return site.manifest.site, f"{sum(counts):,}", str(sum(n > 0 for n in counts)), share, f"{distance:.3f}"


def _overlap(found: Overlap, sites: Sequence[SiteDescription]) -> dict[str, Any]:
    names = [str(escape(site.manifest.site)) for site in sites]
    shares = [[found.share(row, column) for column in range(len(names))] for row in range(len(names))]
    seen = [(label, float(count)) for label, count in grouped(found.seen_by)]
    return {
        "column": found.column,
        "count": f"{found.num_ids:,}",
        "seen": _svg(svg.named_bars(seen, label="Ids by number of sites", text="{:,.0f}".format)),
        "heat": _svg(svg.heat(names, shares, label="Share of ids in common")),
    }
