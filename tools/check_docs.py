"""Run the commands of the documentation and look at its links. Part of `make verify`.

A fenced block below a line `<!-- run -->` is run: all such blocks of one page in one bash, in their order, in an
empty folder with links to the repository's files and with .venv/bin first on the path. In a block where lines
begin with `$ `, only those are commands. A relative link must lead to a file that is there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_BLOCK = re.compile(r"^<!-- run -->\n+```(?:console|bash|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
_LINKED = ("examples", "charts", "crds", "docs", "tests")
LIMIT_S = 300


def commands(page: str) -> str:
    """Return the bash script that the marked blocks of a page make, or nothing."""
    lines: list[str] = []
    for block in _BLOCK.findall(page):
        shown = block.splitlines()
        prompted = [line[2:] for line in shown if line.startswith("$ ")]
        lines += prompted or shown
    return "\n".join(lines)


def broken_links(page: Path) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    targets = _LINK.findall(page.read_text(encoding="utf-8"))
    relative = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    return [target for target in relative if not (page.parent / target).exists()]


def run(script: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Run one page's script; its folder is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="fljob-docs-") as name:
        for part in _LINKED:
            if (root / part).exists():
                (Path(name) / part).symlink_to(root / part)
        path = f"{root / '.venv/bin'}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", script],
            cwd=name,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )


def check(page: Path, root: Path) -> list[str]:
    """Return what is wrong with one page."""
    faults = [f"{page}: the link {target} leads nowhere" for target in broken_links(page)]
    if script := commands(page.read_text(encoding="utf-8")):
        done = run(script, root)
        if done.returncode:
            faults.append(f"{page}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        else:
            print(f"{page}: {len(script.splitlines())} lines of commands ran")
    return faults


def main() -> None:
    """Check every page of the repository."""
    root = Path.cwd()
    pages = [*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / "examples").rglob("*.md")]
    faults = [fault for page in sorted(pages) for fault in check(page.relative_to(root), root)]
    print(*faults, f"docs: {len(pages)} pages, {len(faults)} faults", sep="\n")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
