"""Write the Python side of api/proto. Part of `make generate`."""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

SOURCE = Path("api/proto")


def main() -> None:
    """Write modules, stubs and services under the folder given (default: the repository)."""
    out = Path(sys.argv[1] if sys.argv[1:] else ".") / "api/src"
    files = [str(path.relative_to(SOURCE)) for path in sorted(SOURCE.rglob("*.proto"))]
    outputs = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", f"-I{SOURCE}", *outputs, *files]):
        raise SystemExit("protoc failed: see above")


if __name__ == "__main__":
    main()
