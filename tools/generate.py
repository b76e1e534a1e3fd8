"""Make every generated file anew: `make generate` in place, `make check-generated` in a copy to compare with.

Each script beside this one takes the folder to write to; the order matters (the chart copies the CRD).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPTS = ("generate_protos", "generate_crd", "generate_catalog", "generate_docs", "generate_chart")
TOOLS = Path(__file__).parent


def generate(folder: Path) -> None:
    """Run every script with the folder as its target; raises CalledProcessError when one fails."""
    for script in SCRIPTS:
        subprocess.run([sys.executable, TOOLS / f"{script}.py", str(folder)], check=True, timeout=300)


def stale() -> list[str]:
    """Return the files of the working tree that differ from what the generators write now."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    with tempfile.TemporaryDirectory(prefix="fljob-generated-") as name:
        copy = Path(name)
        for file in map(Path, listed.stdout.splitlines()):
            if file.is_file():
                (copy / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy / file)
        before = _digests(copy)
        generate(copy)
        return sorted(str(path) for path, digest in _digests(copy).items() if before.get(path) != digest)


def _digests(folder: Path) -> dict[Path, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    """Generate in place, or with --check only tell what is stale (exit code 1)."""
    if "--check" not in sys.argv:
        generate(Path())
        return
    if files := stale():
        print("stale, run `make generate` and commit:", *files, sep="\n  ")
        raise SystemExit(1)
    print("generated files are current")


if __name__ == "__main__":
    main()
