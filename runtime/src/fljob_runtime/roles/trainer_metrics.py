"""What a trainer exports to Prometheus; names and help are in fljob_api.metric_names. Called by the trainer."""

from __future__ import annotations

from fljob_api.metric_names import TRAINER
from fljob_runtime.messages import TrainReport
from fljob_runtime.transport.metrics import Metrics


class TrainerMetrics:
    """Exports one trainer's own numbers."""

    def __init__(self, *, namespace: str, job: str, trainer: str) -> None:
        self._metrics = Metrics(TRAINER, {"namespace": namespace, "job": job, "trainer": trainer})
        self.text = self._metrics.text
        self._sent = self._received = 0

    def training(self, round_number: int, loss: float) -> None:
        """Export the running round."""
        self._metrics.set("fljob_trainer_round", round_number)
        self._metrics.set("fljob_trainer_train_loss", loss)

    def trained(self, report: TrainReport) -> None:
        """Export a round's training."""
        self._metrics.set("fljob_trainer_round", report.round)
        self._metrics.add("fljob_trainer_samples_total", report.num_samples)
        self._metrics.observe("fljob_trainer_train_seconds", report.seconds)

    def evaluated(self, loss: float, auc: float) -> None:
        """Export this client's own numbers on its held-out data."""
        self._metrics.set("fljob_trainer_loss", loss)
        self._metrics.set("fljob_trainer_auc", auc)

    def traffic(self, sent: int, received: int) -> None:
        """Export the payload bytes so far."""
        self._metrics.add("fljob_trainer_sent_bytes_total", sent - self._sent)
        self._metrics.add("fljob_trainer_received_bytes_total", received - self._received)
        self._sent, self._received = sent, received

    def reconnected(self) -> None:
        """Count a stream opened again."""
        self._metrics.add("fljob_trainer_reconnects_total")
