"""How sites differ, as tables of `fljob data describe`: labels by site, ids that several sites have.

Called by `datasets`. It only shows what `fljob_runtime.data` has counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from fljob_runtime.data.describe import SiteDescription
    from fljob_runtime.data.overlap import Overlap

MOST_SITES = 12  # of a table that has a column for each
_GROUPS = 10
_BAR = 24
_BLOCKS = "▁▂▃▄▅▆▇█"
_CLICKS = 2
_SHADES = ("", "on grey15", "on dark_blue", "on blue3", "white on dodger_blue3")


def print_labels(console: Console, sites: Sequence[SiteDescription], distances: Sequence[float]) -> None:
    """Print how the labels of each site lie, where there are more than two."""
    if not distances or sites[0].manifest.num_classes <= _CLICKS:
        return
    table = _table("site", "labels", "most frequent", "apart", "shares, 0 to " + str(sites[0].manifest.num_classes - 1))
    for site, distance in zip(sites, distances, strict=True):
        counts = site.label_counts
        top = max(range(len(counts)), key=counts.__getitem__)
        share = counts[top] / max(sum(counts), 1)
        there = sum(count > 0 for count in counts)
        table.add_row(site.manifest.site, str(there), f"{top}: {share:.0%}", f"{distance:.2f}", blocks(counts))
    console.print(Text("\nlabels, and how far they are apart from all sites' (0 alike, 1 nothing alike)", style="bold"))
    console.print(table)


def print_overlap(console: Console, found: Overlap, names: Sequence[str]) -> None:
    """Print how many sites know each id of a column, and what share of its ids each site has in common with another."""
    console.print(
        Text(f"\n{found.column}: {found.num_ids:,} ids, by how many of {len(names)} sites have them", style="bold")
    )
    table = _table("sites", "ids", "share", "")
    most = max(found.seen_by, default=1)
    for label, count in grouped(found.seen_by):
        table.add_row(
            label, f"{count:,}", f"{count / max(found.num_ids, 1):.1%}", Text("█" * round(24 * count / max(most, 1)))
        )
    console.print(table)
    if len(names) > MOST_SITES:
        console.print(
            Text(f"shares of {len(names)} by {len(names)} sites are in --output json and --report", style="dim")
        )
        return
    console.print(Text(f"share of a row's {found.column} ids that a column's site has too", style="dim"))
    heat = _table("site", *names)
    for row, name in enumerate(names):
        heat.add_row(name, *(_cell(found.share(row, other)) for other in range(len(names))))
    console.print(heat)


def grouped(seen_by: Sequence[int]) -> Iterator[tuple[str, int]]:
    """Yield how many ids are at so many sites, in ten groups at most."""
    size = -(-len(seen_by) // _GROUPS)
    for first in range(0, len(seen_by), size):
        last = min(first + size, len(seen_by))
        label = str(last) if last == first + 1 else f"{first + 1}-{last}"
        yield label, sum(seen_by[first:last])


def bar(value: int, most: int) -> Text:
    """Return a bar whose length is the value's share of the greatest, in eighths of a character."""
    eighths = round(8 * _BAR * value / max(most, 1))
    return Text("█" * (eighths // 8) + ("", *"▏▎▍▌▋▊▉")[eighths % 8], style="blue")


def blocks(counts: Sequence[int]) -> str:
    """Return a block for each count, as high as its share of the greatest; a dot for none."""
    most = max(counts, default=0)
    return "".join(_BLOCKS[-(-len(_BLOCKS) * count // most) - 1] if count else "·" for count in counts)


def main_column(found: Sequence[Overlap]) -> Overlap | None:
    """Return the column that is shown: items, or else the one with the most ids."""
    return next((one for one in found if one.column == "item"), max(found, key=lambda one: one.num_ids, default=None))


def _cell(share: float) -> Text:
    return Text(f"{share:.0%}", style=_SHADES[min(int(share * len(_SHADES)), len(_SHADES) - 1)])


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        left = name in {"site", ""} or name.startswith("shares")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    return table
