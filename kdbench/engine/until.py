"""When a run is to be over."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Until:
    """When a run is to be over, in seconds of `time.monotonic`.

    Attributes:
        away: Nothing new is begun, and what is in training is put away.
        end: Who is still measuring is ended; what was trained is put away by then.
    """

    away: float = math.inf
    end: float = math.inf

    @classmethod
    def budget(cls, seconds: float, began: float) -> "Until":
        """So that all is told, too, when so many seconds have passed since it began."""
        reserve = min(30.0, seconds / 10)
        return cls(began + seconds - reserve, began + seconds - reserve / 2)
