"""Whether a process that ended is started again: the operator's rules (exit-code table, backoffLimit), pure.

Called by the supervisor. Time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fljob_api.exit_codes import ExitCode, Retry, meaning

_FIRST_DELAY_S = 0.1
_LAST_DELAY_S = 10.0


@dataclass
class Restarts:
    """Counts the restarts of each process against the limit."""

    limit: int
    counted: dict[str, int] = field(default_factory=dict)
    out_of_memory: dict[str, int] = field(default_factory=dict)

    def delay_s(self, process: str, code: int) -> float | None:
        """Count the end of a process; return after how long it is started again, None for never."""
        retry = meaning(code).retry
        if retry is Retry.NEVER:
            return None
        if retry is Retry.FREE:
            return _FIRST_DELAY_S
        if retry is Retry.ONCE:
            self.out_of_memory[process] = self.out_of_memory.get(process, 0) + 1
            return _FIRST_DELAY_S if self.out_of_memory[process] == 1 else None
        self.counted[process] = self.counted.get(process, 0) + 1
        if self.counted[process] > self.limit:
            return None
        return float(min(_FIRST_DELAY_S * 2 ** (self.counted[process] - 1), _LAST_DELAY_S))

    def why_not(self, process: str, code: int) -> str:
        """Return the reason, as status shows it, that a process is not started again."""
        if self.counted.get(process, 0) > self.limit:
            return f"BackoffLimitExceeded: {process} ended {self.counted[process]} times, the last time with {code}"
        return f"{meaning(code).reason}: {process} ended with {ExitCode(code).value if code in set(ExitCode) else code}"
