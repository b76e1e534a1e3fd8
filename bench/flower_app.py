"""Flower's simulation of the local benchmark's clients; run by `flower.py` with a Python that has Flower.

    python bench/flower_app.py DATA_FOLDER ROUNDS

Imports nothing of ours: NCF-MLP 64-32-16-8 as one would write it down, FedAvg over all clients, an epoch each, the
simulation's own engine with a CPU a client. Each round's line says when it began and ended; the last one has the AUC.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch import Tensor, nn

BATCH, RATE = 512, 1e-3


class Ncf(nn.Module):
    """user [B], item [B] -> logits [B]."""

    def __init__(self, users: int, items: int) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(users, 32), nn.Embedding(items, 32)
        for table in (self.user, self.item):
            nn.init.normal_(table.weight, 0, 0.01)
        layers = [part for a, b in ((64, 32), (32, 16), (16, 8)) for part in (nn.Linear(a, b), nn.ReLU())]
        self.tower = nn.Sequential(*layers, nn.Linear(8, 1))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        return self.tower(torch.cat([self.user(users), self.item(items)], 1)).squeeze(1)


def make_client(folder: Path) -> ClientApp:
    """Return the clients' program: load, train an epoch with a fresh Adam, send everything back."""
    client = ClientApp()

    @client.train()
    def train(message: Message, context: Context) -> Message:
        torch.set_num_threads(1)
        config = message.content["config"]
        model = Ncf(int(config["users"]), int(config["items"]))
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        data = np.load(folder / f"{context.node_config['partition-id']}.npz")
        loss, count = _epoch(model, data, int(config["server-round"]))
        metrics = MetricRecord({"train_loss": loss, "num-examples": count})
        return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)

    return client


def _epoch(model: Ncf, data: dict[str, np.ndarray], seed: int) -> tuple[float, int]:
    order = np.random.default_rng(seed).permutation(len(data["label"]))
    users, items, labels = (torch.from_numpy(data[name][order]) for name in ("user", "item", "label"))
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    loss_of, total = nn.BCEWithLogitsLoss(), torch.zeros(())
    for start in range(0, len(labels), BATCH):
        stop = start + BATCH
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(model(users[start:stop], items[start:stop]), labels[start:stop])
        loss.backward()
        optimizer.step()
        total += loss.detach()
    return float(total) / -(-len(labels) // BATCH), len(labels)


def make_server(folder: Path, num_rounds: int, num_clients: int) -> ServerApp:
    """Return the server's program: FedAvg, timed from one aggregation's end to the next."""
    server = ServerApp()
    shape = json.loads((folder / "shape.json").read_text())

    @server.main()
    def main(grid: Grid, _: Context) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        model, ended = Ncf(shape["users"], shape["items"]), [time.time()]

        def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord:
            now = time.time()
            if number:
                print("ROUND", json.dumps({"round": number, "seconds": now - ended[0], "at": now}), flush=True)
            if number == num_rounds:
                model.load_state_dict(arrays.to_torch_state_dict())
                print("AUC", json.dumps(_auc(model, np.load(folder / "test.npz"))), flush=True)
            ended[0] = time.time()
            return MetricRecord({"round": number})

        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=num_clients, min_available_nodes=num_clients)
        strategy.start(
            grid=grid,
            initial_arrays=ArrayRecord(model.state_dict()),
            num_rounds=num_rounds,
            train_config=ConfigRecord(shape),
            evaluate_fn=evaluate,
        )

    return server


def _auc(model: Ncf, data: dict[str, np.ndarray]) -> float:
    """Return the area under the ROC curve; ties count half."""
    with torch.inference_mode():
        scores = model(torch.from_numpy(data["user"]), torch.from_numpy(data["item"])).numpy()
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = data["label"] > 0.5
    count = int(positive.sum())
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(ranks) - count)))


def main() -> None:
    """Simulate."""
    folder, num_rounds = Path(sys.argv[1]), int(sys.argv[2])
    clients = len(list(folder.glob("[0-9]*.npz")))
    resources = {"num_cpus": 1.0, "num_gpus": 0.0}
    run_simulation(
        server_app=make_server(folder, num_rounds, clients),
        client_app=make_client(folder),
        num_supernodes=clients,
        backend_name="ray",
        backend_config={"init_args": {"num_cpus": os.cpu_count()}, "client_resources": resources},
    )


if __name__ == "__main__":
    main()
