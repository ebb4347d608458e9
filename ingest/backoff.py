"""How long to wait before another try: longer each time, never the same for all."""

import random

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 5.0
"""A server that comes back is found within seconds; one that is away gets a probe now and then."""


class Backoff:
    """Exponential, with jitter, so that many agents do not come back at one moment."""

    def __init__(self, random_: random.Random | None = None) -> None:
        self._random = random_ or random.Random()
        self._ceiling = FIRST_SECONDS

    def next(self, at_least: float = 0.0) -> float:
        """Seconds to wait now; at least what the other side asked for."""
        ceiling, self._ceiling = self._ceiling, min(2 * self._ceiling, LONGEST_SECONDS)
        return at_least + self._random.uniform(ceiling / 2, ceiling)

    def reset(self) -> None:
        """It worked: begin anew with the shortest wait."""
        self._ceiling = FIRST_SECONDS
