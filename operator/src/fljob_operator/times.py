"""Times as Kubernetes writes them. The present time is always an argument."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(now: datetime) -> str:
    """Return RFC 3339 in UTC with seconds."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_since(text: str | None, now: datetime) -> float:
    """Return the seconds from a stamp to `now`; 0 for no stamp or one in the future."""
    if not text:
        return 0.0
    then = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return max(0.0, (now - then).total_seconds())
