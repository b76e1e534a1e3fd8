"""What can be wrong with data: every error says which file, line and column, and what to do."""

from __future__ import annotations

from pathlib import Path


class DataError(ValueError):
    """Data is missing or malformed (exit code BAD_DATA)."""

    def __init__(self, path: Path | str, problem: str, *, line: int | None = None, column: str | None = None) -> None:
        where = str(path)
        if line is not None:
            where += f", line {line}"
        if column is not None:
            where += f", column {column}"
        super().__init__(f"{where}: {problem}")
