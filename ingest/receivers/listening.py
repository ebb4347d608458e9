"""What the gateway listens on beside the front door's paths: `[receivers]` in the configuration."""

import ssl
from dataclasses import dataclass

from storage.errors import ConfigError
from storage.sections import NO_SECRET, Secret

AUTO = "auto"
ADDRESSES = ("otlp_grpc", "syslog_tcp", "syslog_tls", "syslog_udp", "fluent")


@dataclass(frozen=True)
class ReceiversConfig:
    """An address is HOST:PORT; empty: not at all."""

    otlp_grpc: str = AUTO  # HOST:PORT for OTLP over gRPC; auto: 4317 beside the front door, if nobody has it
    syslog_tcp: str = ""  # HOST:PORT for syslog over TCP
    syslog_tls: str = ""  # HOST:PORT for syslog over TLS
    syslog_udp: str = ""  # HOST:PORT for syslog over UDP
    syslog_certificate: str = ""  # PEM file of the certificate of syslog_tls
    syslog_key: str = ""  # PEM file of its private key
    syslog_client_ca: str = ""  # PEM file of the authority whose client certificates are asked for
    syslog_namespace: str = "default"  # where what comes by syslog is stored
    syslog_timezone: str = ""  # of times that say none, as Europe/Berlin; empty: of this machine
    syslog_max_message_bytes: int = 65536  # longer ones are split
    syslog_max_connections: int = 1000  # of syslog over TCP and TLS
    syslog_idle_seconds: int = 300  # who was silent so long gives way where there are too many connections
    fluent: str = ""  # HOST:PORT for Fluent's forward protocol
    fluent_namespace: str = "default"  # where what comes by it is stored
    fluent_shared_key: Secret = NO_SECRET  # what its senders must know
    fluent_certificate: str = ""  # PEM file; with it fluent is spoken over TLS
    fluent_key: str = ""  # PEM file of its private key
    fluent_client_ca: str = ""  # PEM file of the authority whose client certificates are asked for
    without_keys: bool = False  # with [auth]: listeners that can ask for no key may listen all the same

    def open_listeners(self) -> list[str]:
        """Those that take events from whoever reaches them."""
        closed = {"syslog_tls"} if self.syslog_client_ca else set()
        closed |= {"fluent"} if self.fluent_shared_key or self.fluent_client_ca else set()
        return [name for name in ADDRESSES[1:] if getattr(self, name) and name not in closed]

    def check_keys(self) -> None:
        """Refuse what would let anybody send past the keys. Raises ConfigError."""
        found = self.open_listeners()
        if found and not self.without_keys:
            raise ConfigError(
                f"cannot ask for keys at receivers.{found[0]}: its protocol has none",
                "use syslog_tls with syslog_client_ca, fluent with fluent_shared_key or fluent_client_ca, "
                "or say without_keys = true",
            )

    def context(self, kind: str, listener: str) -> ssl.SSLContext:
        """The certificate of a listener, and whose client certificates it takes, by the keys `KIND_certificate`,
        `KIND_key` and `KIND_client_ca`. Raises ConfigError."""
        certificate, key, client_ca = (
            getattr(self, f"{kind}_{one}") for one in ("certificate", "key", "client_ca")
        )
        if not (certificate and key):
            raise ConfigError(
                f"cannot listen for {kind} over TLS without a certificate and its key",
                f"set receivers.{kind}_certificate and receivers.{kind}_key",
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(certificate, key)
            if client_ca:
                context.load_verify_locations(client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:  # an SSLError is one
            said = f"cannot use the certificate of receivers.{listener}: {error.strerror or error}"
            raise ConfigError(said, "give PEM files that belong together") from None
        return context
