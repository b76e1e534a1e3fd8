"""The `fljob` program: its commands, and the one place where an error becomes an exit code.

Installed as `fljob` and as the plugin `kubectl-fljob`. Imports only what `--help` needs; each command imports
its work when it runs.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fljob_api.exit_codes import ExitCode
from fljob_cli import __version__
from fljob_cli.commands import cluster, convert, data, local, model, reproduce
from fljob_cli.errors import CliError
from fljob_cli.interrupts import sigterm_interrupts

_HELP = """Train recommender models on data that may not leave its sites.

The same manifest runs here (`run`) and on a cluster (`submit`).
"""
_EPILOG = """Examples:

fljob run examples/synthetic-ten-sites/fljob.yaml --compare-pooled

fljob run job.yaml --data-root sites --set spec.rounds=3 --output json

fljob validate job.yaml && fljob submit job.yaml --wait

fljob status movies --watch
"""

_TYPER_INTERRUPTED = 130  # how it ends upon Ctrl-C

app = typer.Typer(
    name="fljob",
    help=_HELP,
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fljob {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


local.register(app)
model.register(app)
reproduce.register(app)
app.add_typer(data.app, name="data")
app.add_typer(model.app, name="model")
app.add_typer(convert.app, name="convert")
cluster.register(app)


def main() -> None:
    """Run one command; ends the process with a code of `fljob_api.exit_codes` (2: wrong usage).

    SIGTERM ends a command as Ctrl-C does: what it has started is stopped, what is half written is removed.
    """
    try:
        with sigterm_interrupts():
            app()
    except CliError as error:
        sys.stdout.flush()
        _complain(error)
        sys.exit(int(error.code))
    except SystemExit as end:
        sys.exit(int(ExitCode.STOPPED) if end.code == _TYPER_INTERRUPTED else end.code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(int(ExitCode.DONE))


def _complain(error: CliError) -> None:
    typer.secho(f"error: {error}", err=True, fg=typer.colors.RED)
    if error.hint:
        typer.echo(f"  {error.hint}", err=True)
