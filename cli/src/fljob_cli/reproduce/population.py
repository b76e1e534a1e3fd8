"""The process that trains a row whose clients are single users: PFedRec with a split and a seed.

Started by `cells` as `python -m fljob_cli.reproduce.population CONFIG`; one line of JSON on stdout: the metrics of the
round with the best hit rate on the validation items.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from fljob_runtime.simulation.one_user import generated, read_ratings
from fljob_runtime.simulation.pfedrec import Population, Rule, best


def main(config: Path) -> None:
    """Train as many rounds as the configuration asks for."""
    torch.set_num_threads(1)  # as a client has
    value = json.loads(config.read_text(encoding="utf-8"))
    ratings, seed = value["ratings"], value["seed"]
    split = read_ratings(Path(ratings)) if ratings else generated(120, 1000, 40, seed)
    every = list(Population(split, Rule(**value["rule"]), seed).rounds(value["rounds"]))
    number = best(every)
    chosen = every[number]
    found = {
        "HR@10": chosen.test.hit_rate(10),
        "NDCG@10": chosen.test.ndcg(10),
        "full HR@10": chosen.full.hit_rate(10),
        "full NDCG@10": chosen.full.ndcg(10),
        "validation HR@10": chosen.valid.hit_rate(10),
        "round": number + 1,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
