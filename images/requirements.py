"""Prints what the given pyproject files depend on, our own packages left out: the dependency layer of an image."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

for name in sys.argv[1:]:
    for requirement in tomllib.loads(Path(name).read_text(encoding="utf-8"))["project"]["dependencies"]:
        if not requirement.startswith("fljob-"):
            sys.stdout.write(f"{requirement}\n")
