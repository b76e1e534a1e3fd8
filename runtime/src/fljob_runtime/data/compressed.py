"""Files that may be compressed. Apart from what reads tables, which takes a tenth of a second to be imported."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path
from typing import IO, cast


def opened(path: Path) -> IO[bytes]:
    """Open a file, plain, .gz or .xz, to be read without compression."""
    if path.suffix == ".xz":
        return lzma.open(path)
    return cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
