"""How this process's allocator treats the pieces that streams are made of. Called once by the programs.

glibc gives a freed piece of a mebibyte back to the kernel at once, and fetches it again for the next one, page fault by
page fault: three times the cost of the copy into it (0.74 against 0.23 ms/MiB, measured), at every step of a stream.
And it keeps such pieces for up to eight groups of threads a core, all of which then hold what one of them needed once.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ARENAS = 2
_PIECE_LIMIT_BYTES = 4 << 20
_IDLE_LIMIT_BYTES = 32 << 20


def keep_freed_pieces() -> bool:
    """Have malloc keep up to 32 MiB of freed pieces, each at most 4 MiB; returns False where it is not glibc's."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = (_M_MMAP_THRESHOLD, _PIECE_LIMIT_BYTES), (_M_TRIM_THRESHOLD, _IDLE_LIMIT_BYTES), (_M_ARENA_MAX, _ARENAS)
    return all(mallopt(option, value) for option, value in wanted)
