"""TLS for whatever listens, and for whoever calls: contexts made of files, read again when they change.

`ServerTls` is for a listener: it takes `.context`, and `.reload()` reads renewed certificates into it; connections that
are open go on. For grpcio, which takes bytes, there is `pem`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import ConfigError

ASKED = {"no": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


@dataclass(frozen=True)
class TlsConfig:
    """The certificate that this server shows, and whose it accepts. Read again on SIGHUP."""

    certificate: str = ""  # PEM file with the certificate and those between it and its root; empty: no TLS
    key: str = ""  # PEM file with its private key, without a password
    client_ca: str = ""  # PEM file with the authorities whose client certificates are accepted
    client_certificates: str = "optional"  # with client_ca: optional, or required of everybody

    def __post_init__(self) -> None:
        if self.client_certificates not in ("optional", "required"):
            raise ConfigError(
                f"cannot use configuration key 'tls.client_certificates': {self.client_certificates!r}",
                "give optional or required",
            )
        if bool(self.certificate) != bool(self.key):
            raise ConfigError("cannot use TLS with one file alone", "give tls.certificate and tls.key")
        if self.client_ca and not self.certificate:
            raise ConfigError("cannot use tls.client_ca without tls.certificate", "give both, or neither")

    def __bool__(self) -> bool:
        return bool(self.certificate)


class ServerTls:
    """A listener's context."""

    def __init__(self, config: TlsConfig) -> None:
        """Raises ConfigError for files that cannot be used."""
        self._config = config
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        self.context.set_alpn_protocols(["http/1.1"])
        self.context.verify_mode = ASKED[config.client_certificates if config.client_ca else "no"]
        self._load(self.context)

    def reload(self) -> None:
        """Read the files again. Raises ConfigError, and goes on with what there was.

        An authority that was taken out of `client_ca` is accepted until the next start.
        """
        self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # what is wrong shows here
        self._load(self.context)

    def _load(self, context: ssl.SSLContext) -> None:
        _load_chain(context, self._config.certificate, self._config.key)
        if self._config.client_ca:
            _load_authorities(context, self._config.client_ca)


def server_context(config: TlsConfig) -> ssl.SSLContext | None:
    """A listener's context, None where no TLS is configured. Raises ConfigError."""
    return ServerTls(config).context if config else None


def client_context(ca: str = "", certificate: str = "", key: str = "") -> ssl.SSLContext:
    """For who connects. `ca`: whom to trust, by default as the system does; `certificate`, `key`: who we are.

    Raises ConfigError.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _load_authorities(context, ca)
    if certificate:
        _load_chain(context, certificate, key or certificate)
    return context


def pem(path: str) -> bytes:
    """The bytes of a PEM file, for libraries that take these. Raises ConfigError."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {_why(error)}", "check the path and its rights") from None


def names_of(certificate: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The names that a checked certificate is for (`getpeercert`): common name first, then DNS names and URIs."""
    if not certificate:
        return ()
    common = [
        value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"
    ]
    others = [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "URI")]
    return tuple(dict.fromkeys((*common, *others)))


def _load_chain(context: ssl.SSLContext, certificate: str, key: str) -> None:
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise ConfigError(
            f"cannot use certificate {certificate} with key {key}: {_why(error)}",
            "give PEM files that belong together, the key without a password",
        ) from None


def _load_authorities(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise ConfigError(f"cannot use authorities {path}: {_why(error)}", "give a PEM file") from None


def _no_password() -> str:
    raise ValueError("it has a password")  # else OpenSSL asks for one at the terminal


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error)
    return str(reason).lower().replace("_", " ")
