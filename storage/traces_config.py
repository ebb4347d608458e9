"""`[traces]` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from storage.errors import ConfigError
from storage.sections import NO_SECRET, Secret


@dataclass(frozen=True)
class TracesConfig:
    """Where traces of the server's own work go, by OTLP over HTTP; the extra `otel` has what it takes."""

    endpoint: str = ""  # as http://collector:4318/v1/traces; empty: nowhere
    authorization: Secret = NO_SECRET  # sent as that header
    sample: float = 1.0  # of the requests that bring no decision of their own

    def __post_init__(self) -> None:
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise ConfigError(
                f"cannot use traces.endpoint: {self.endpoint}", "write it as http://host:4318/v1/traces"
            )
        if not 0 <= self.sample <= 1:
            raise ConfigError(f"cannot use traces.sample: {self.sample}", "give a number from 0 to 1")
