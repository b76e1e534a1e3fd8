"""The allocator's settings."""

from __future__ import annotations

import resource

from fljob_runtime.transport.heap import keep_freed_pieces

_PIECE = 1 << 20


def _faults_of_new_pieces(count: int) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        bytearray(_PIECE)[::4096] = b"x" * (_PIECE // 4096)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_pieces_of_a_stream_are_not_fetched_from_the_kernel_again() -> None:
    assert keep_freed_pieces()
    _faults_of_new_pieces(2)
    pages = 20 * _PIECE // 4096
    assert _faults_of_new_pieces(20) < pages / 4
