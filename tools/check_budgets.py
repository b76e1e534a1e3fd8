"""Hold functions and files to the sizes that keep them readable. Part of `make verify`.

Hard limits end with exit code 1; what is past the soft ones is only listed. The number of arguments is ruff's.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOTS = ("api/src", "operator/src", "runtime/src", "cli/src", "tools", "tests", "bench")
GENERATED = "fljob_api/wire"
FUNCTION_SOFT, FUNCTION_HARD = 40, 60
FILE_SOFT, FILE_HARD = 400, 600


@dataclass(frozen=True)
class Finding:
    """One function or file past its soft limit."""

    where: str
    lines: int
    hard: bool

    def __str__(self) -> str:
        return f"{self.where}: {self.lines} lines{' (past the hard limit)' if self.hard else ''}"


def findings(path: Path, text: str) -> Iterator[Finding]:
    """Yield what is too long in one module."""
    length = len(text.splitlines())
    if length > FILE_SOFT:
        yield Finding(str(path), length, length > FILE_HARD)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_SOFT:
                yield Finding(f"{path}:{node.lineno} {node.name}", lines, lines > FUNCTION_HARD)


def main() -> None:
    """Check every module below the roots."""
    found: list[Finding] = []
    for root in ROOTS:
        for path in sorted(Path(root).rglob("*.py")):
            if GENERATED not in path.as_posix():
                found.extend(findings(path, path.read_text(encoding="utf-8")))
    for finding in found:
        print(finding)
    too_long = sum(finding.hard for finding in found)
    print(f"budgets: {len(found)} past the soft limits, {too_long} past the hard ones")
    sys.exit(1 if too_long else 0)


if __name__ == "__main__":
    main()
