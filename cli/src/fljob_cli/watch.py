"""What `fljob train` looks at while it trains, if asked to: a profile of some mini-batches, events for TensorBoard.

Called by `train`. The looking itself is in `fljob_runtime.training`: profiling, board.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from fljob_cli.errors import CliError

if TYPE_CHECKING:
    from torch import Tensor

    from fljob_runtime.training.board import Board
    from fljob_runtime.training.pooled import PooledTraining
    from fljob_runtime.training.profiling import Profiling

PROFILED_BATCHES = 50
_SHOWN = 10


@dataclass(frozen=True)
class Wanted:
    """What the command line asked for. profile, tensorboard: folders; histograms: every so many epochs, 0: none.

    profile_batches: None is PROFILED_BATCHES.
    """

    profile: Path | None = None
    profile_batches: int | None = None
    tensorboard: Path | None = None
    histograms: int = 0

    def check(self) -> None:
        """Raise CliError for what cannot be had."""
        if self.profile is None and self.profile_batches is not None:
            raise CliError("--profile-batches: are those of a profile; say where it goes: --profile DIR")
        if self.tensorboard is None:
            if self.histograms:
                raise CliError("--histograms: are for TensorBoard; say where: --tensorboard DIR")
            return
        from fljob_runtime.training.board import BoardError, check_installed  # noqa: PLC0415 - heavy

        try:
            check_installed()
        except BoardError as error:
            raise CliError(f"--tensorboard: {error}") from error


class Watch:
    """One training's profile and events."""

    def __init__(self, wanted: Wanted, training: PooledTraining, console: Console) -> None:
        """Raises CliError for a folder that cannot be written."""
        self._wanted, self._training, self._console = wanted, training, console
        self._profiling, self._board = self._profile(), self._events()

    @contextmanager
    def epoch(self) -> Iterator[Callable[[Tensor], None]]:
        """Look at an epoch, which tells each mini-batch's loss to what it is given. Raises CliError as `__init__`."""
        if self._profiling is None:
            yield self._step(lambda: None)
            return
        with _profile_faults(), self._profiling.watched() as profiled:
            yield self._step(profiled)
        self._say_profile(self._profiling)

    def evaluated(self, metrics: Mapping[str, float]) -> None:
        """Take in an epoch's metrics."""
        if self._board is not None:
            self._board.epoch(metrics)

    def close(self) -> None:
        """Write what is left."""
        if self._board is not None:
            self._board.close()

    def _profile(self) -> Profiling | None:
        folder, device = self._wanted.profile, self._training.trainer.plan.compute.device
        if folder is None:
            return None
        from fljob_runtime.training.profiling import Profiling  # noqa: PLC0415 - heavy

        with _profile_faults():
            return Profiling(folder, self._wanted.profile_batches or PROFILED_BATCHES, device)

    def _events(self) -> Board | None:
        if self._wanted.tensorboard is None:
            return None
        from fljob_runtime.training.board import Board, BoardError  # noqa: PLC0415 - heavy

        try:
            return Board(self._wanted.tensorboard, self._training, self._wanted.histograms)
        except BoardError as error:
            raise CliError(f"--tensorboard {error}") from error

    def _step(self, profiled: Callable[[], None]) -> Callable[[Tensor], None]:
        def step(loss: Tensor) -> None:
            profiled()
            if self._board is not None:
                self._board.step(loss)

        return step

    def _say_profile(self, profiling: Profiling) -> None:
        """Show the dearest operators, once."""
        self._console.print(f"\n{profiling.batches} mini-batches profiled: {self._wanted.profile}", soft_wrap=True)
        self._console.print(profiling.table(_SHOWN) + "\n", soft_wrap=True)
        self._profiling = None


@contextmanager
def _profile_faults() -> Iterator[None]:
    """Turn a profile that cannot be written into a CliError."""
    from fljob_runtime.training.profiling import ProfilingError  # noqa: PLC0415 - heavy

    try:
        yield
    except ProfilingError as error:
        raise CliError(f"--profile {error}") from error
