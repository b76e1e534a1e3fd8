"""`fljob validate`: the verdict on manifests, without a cluster. Called by `commands.local`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fljob_api.exit_codes import ExitCode
from fljob_cli import manifests
from fljob_cli.errors import CliError, InputError


def check_files(files: Sequence[Path], settings: Sequence[str], *, json_output: bool) -> int:
    """Check each file, print the verdicts, and return the exit code: 10 when any has a fault."""
    verdicts = [_check(path, settings) for path in files]
    if json_output:
        sys.stdout.write(json.dumps({"files": verdicts}) + "\n")
    else:
        for verdict in verdicts:
            sys.stdout.write(_text(verdict))
    return int(ExitCode.DONE if all(verdict["valid"] for verdict in verdicts) else ExitCode.BAD_CONFIG)


def _check(path: Path, settings: Sequence[str]) -> dict[str, Any]:
    try:
        job = manifests.load(path, settings)
    except InputError as error:
        faults = [
            {"path": fault.path, "message": fault.message, "suggestion": fault.suggestion} for fault in error.problems
        ]
        return {"file": str(path), "valid": False, "problems": faults, "text": str(error)}
    except CliError as error:
        fault = {"path": "", "message": str(error), "suggestion": ""}
        return {"file": str(path), "valid": False, "problems": [fault], "text": str(error)}
    return {
        "file": str(path),
        "valid": True,
        "job": job.metadata.name,
        "trainers": len(job.spec.trainers),
        "problems": [],
    }


def _text(verdict: dict[str, Any]) -> str:
    if verdict["valid"]:
        return f"{verdict['file']}: valid ({verdict['job']})\n"
    return f"{verdict['text']}\n"
