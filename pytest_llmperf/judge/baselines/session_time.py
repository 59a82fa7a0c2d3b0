"""When a session was measured, as a number that sessions are ordered by."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any


def time_s(saved_at: Any) -> float:
    """Seconds since the epoch, whatever zone the text is in; what is no time comes first."""
    try:
        return datetime.fromisoformat(saved_at).timestamp()
    except (ValueError, OverflowError, TypeError):
        return -math.inf
