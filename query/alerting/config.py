"""What a configuration says about alerts: `[alerts]`."""

from __future__ import annotations

from dataclasses import dataclass

from query.limits import MIB, Limits
from storage.errors import ConfigError


@dataclass(frozen=True)
class AlertsConfig:
    """How alerts look, and whom they may tell."""

    enabled: bool = True  # false: none looks, and nothing is told
    allow: tuple[
        str, ...
    ] = ()  # hosts, or HOST:PORT, that webhooks may be at although they are no public ones
    allow_private: bool = False  # webhooks may be anywhere: on the loopback, and in private networks
    timeout_seconds: float = 10.0  # that a webhook has to answer
    give_up_hours: float = 24.0  # after which a notification that nobody takes is given up
    seconds: float = 10.0  # that one look may take
    rows_read: int = 500_000_000  # of one look
    memory_bytes: int = 512 * MIB  # of the server, for one look
    concurrent: int = 2  # looks at once

    def __post_init__(self) -> None:
        for name in (
            "timeout_seconds",
            "give_up_hours",
            "seconds",
            "rows_read",
            "memory_bytes",
            "concurrent",
        ):
            if not getattr(self, name) > 0:
                raise ConfigError(f"cannot use configuration key 'alerts.{name}'", "give more than 0")

    def limits(self) -> Limits:
        """Of the queries of one look."""
        return Limits(seconds=self.seconds, rows_read=self.rows_read, memory_bytes=self.memory_bytes)
