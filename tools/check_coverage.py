"""Hold branch coverage of the last `pytest --cov` run to floors that only rise. Part of `make coverage`.

Lines and branches count together, as coverage's own total does. Only what runs in the tests' own process counts:
programs that the integration tests start as processes are not seen.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FLOORS = {
    "api/src/fljob_api": 99.0,
    "operator/src/fljob_operator/reconcile": 95.0,
    "operator/src/fljob_operator/policies": 99.0,
    "operator/src/fljob_operator/desired": 97.0,
    "operator/src/fljob_operator": 90.0,
    "runtime/src/fljob_runtime/rounds": 95.0,
    "runtime/src/fljob_runtime/algorithms": 97.0,
    "runtime/src/fljob_runtime/server": 97.0,
}


def covered(report: dict[str, Any], prefix: str) -> float:
    """Return the percentage of lines and branches covered below a path; 100 when there is nothing."""
    summaries = [file["summary"] for path, file in report["files"].items() if Path(path).as_posix().startswith(prefix)]
    hit = sum(summary["covered_lines"] + summary["covered_branches"] for summary in summaries)
    every = sum(summary["num_statements"] + summary["num_branches"] for summary in summaries)
    return 100.0 * hit / every if every else 100.0


def main() -> None:
    """Print each part with its floor; exit code 1 when one is below."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        subprocess.run([sys.executable, "-m", "coverage", "json", "--quiet", "-o", path], check=True, timeout=120)
        report = json.loads(path.read_text(encoding="utf-8"))
    found = {prefix: covered(report, prefix) for prefix in FLOORS}
    for prefix, floor in FLOORS.items():
        print(f"{found[prefix]:6.1f} %  (floor {floor:.0f} %)  {prefix}")
    sys.exit(1 if any(found[prefix] < floor for prefix, floor in FLOORS.items()) else 0)


if __name__ == "__main__":
    main()
