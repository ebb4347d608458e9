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
    syslog_certificate: str = ""  # PEM files: of the server,
    syslog_key: str = ""
    syslog_client_ca: str = (
        ""  # and of the authority whose client certificates are asked for; empty: they are not
    )
    syslog_namespace: str = "default"
    syslog_timezone: str = ""  # of times that say none, as Europe/Berlin; empty: of this machine
    syslog_max_message_bytes: int = 65536  # longer ones are split
    syslog_max_connections: int = 1000
    syslog_idle_seconds: int = 300  # who was silent so long gives way where there are too many connections
    fluent: str = ""
    fluent_namespace: str = "default"
    fluent_shared_key: str = ""
