"""What is wrong with names, data and models, as errors of a command.

Used by the commands that train, evaluate and export in their own process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fljob_api.exit_codes import ExitCode, meaning
from fljob_cli.errors import CliError


@contextmanager
def data_faults() -> Iterator[None]:
    """Turn what is wrong with names, data and models into a CliError with the trainer's exit code."""
    from fljob_runtime.data.errors import DataError  # noqa: PLC0415 - heavy
    from fljob_runtime.errors import CheckpointError  # noqa: PLC0415 - heavy
    from fljob_runtime.parameters import LayoutError, ModelError  # noqa: PLC0415 - heavy
    from fljob_runtime.registry import RegistryError, UnknownNameError  # noqa: PLC0415 - heavy
    from fljob_runtime.schema import SchemaError  # noqa: PLC0415 - heavy
    from fljob_runtime.training.compute import ComputeError  # noqa: PLC0415 - heavy
    from fljob_runtime.training.record import DivergedError  # noqa: PLC0415 - heavy

    codes: dict[type[Exception], ExitCode] = {
        DataError: ExitCode.BAD_DATA,
        UnknownNameError: ExitCode.UNKNOWN_NAME,
        RegistryError: ExitCode.BAD_CONFIG,
        SchemaError: ExitCode.BAD_CONFIG,
        ModelError: ExitCode.BAD_CONFIG,
        ComputeError: ExitCode.BAD_CONFIG,
        LayoutError: ExitCode.LAYOUT_MISMATCH,
        CheckpointError: ExitCode.CHECKPOINT_UNUSABLE,
        DivergedError: ExitCode.DIVERGED,
    }
    try:
        yield
    except tuple(codes) as error:
        code = next(code for kind, code in codes.items() if isinstance(error, kind))
        raise CliError(str(error), code=code, hint=meaning(int(code)).help) from error
