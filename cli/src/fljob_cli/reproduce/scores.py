"""The process that keeps what the last model of a run predicts of all sites' held-out data, site after site.

Started by `cells` as `python -m fljob_cli.reproduce.scores RUN FILE`; the file is NumPy's, float32 [E, 2].
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from fljob_cli.evaluate import choose, find_models, loaded


def main(run: Path, file: Path) -> None:
    """Predict and write."""
    kept = find_models(run, None, ())
    data = kept.data(kept.sites)
    rounds = choose("", sorted(kept.models), run)
    np.save(file, np.concatenate([local.known() for name in kept.sites for local in loaded(kept, name, rounds, data)]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
