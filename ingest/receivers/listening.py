"""What the gateway listens on beside the front door's paths: `[receivers]` in the configuration."""

from dataclasses import dataclass

AUTO = "auto"


@dataclass(frozen=True)
class ReceiversConfig:
    """An address is HOST:PORT; empty: not at all."""

    otlp_grpc: str = AUTO  # auto: 4317 beside the front door, if nobody has it
    syslog_tcp: str = ""
    syslog_tls: str = ""
    syslog_udp: str = ""
    fluent: str = ""
