"""How trainers compute: in how many bits. Part of the spec."""

from __future__ import annotations

from enum import StrEnum


class Precision(StrEnum):
    """In what numbers trainers multiply; what they keep, send and measure is float32 either way."""

    FLOAT32 = "Float32"
    BFLOAT16 = "BFloat16"
