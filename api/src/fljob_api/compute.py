"""How trainers compute: where, and in how many bits. Part of the spec."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

Device = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda(:[0-9]{1,2})?)$", max_length=7)]


class Precision(StrEnum):
    """In what numbers trainers multiply; what they keep, send and measure is float32 either way."""

    FLOAT32 = "Float32"
    BFLOAT16 = "BFloat16"
