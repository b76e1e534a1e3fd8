"""When a long job's certificates are made anew: at two thirds of their life, by starting its pods again.

A process reads its certificate once, and the Secrets are immutable and their names the incarnation's. So the next
incarnation brings new ones, as it does after a suspension; what was trained since the last checkpoint is trained again.
A job that has no checkpoint would lose everything by it and is left alone.
"""

from __future__ import annotations

from datetime import datetime

from fljob_api.fljob import FLJob
from fljob_api.pki import LEAF_LIFETIME
from fljob_api.spec import TlsMode
from fljob_operator.observed import Observed
from fljob_operator.times import seconds_since

RENEW_AFTER_S = LEAF_LIFETIME.total_seconds() * 2 / 3


def due(job: FLJob, observed: Observed, now: datetime, *, after_s: float = RENEW_AFTER_S) -> bool:
    """Return whether this incarnation is older than `after_s` and a version of it is durable.

    Its certificates are made when it begins; one that was lost and made again later lives longer.
    """
    if job.spec.security.tls is TlsMode.DISABLED or job.spec.checkpoint is None or observed.progress is None:
        return False
    return bool(observed.progress.training.checkpoint) and seconds_since(job.status.resume_time, now) >= after_s
