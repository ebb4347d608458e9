"""What the command line shows a server: a key, a client certificate, and whose certificates it trusts.

NEVE_KEY or NEVE_KEY_FILE       a key
NEVE_CA                         PEM file of the authorities that are trusted, in place of the system's
NEVE_CERT, NEVE_CERT_KEY        PEM files of a client certificate and its key
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from storage.errors import ConfigError
from storage.tls import client_context


@dataclass(frozen=True)
class Carried:
    """Files by path; empty: none."""

    key: str = field(default="", repr=False)
    ca: str = ""
    certificate: str = ""
    certificate_key: str = ""

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def context(self) -> ssl.SSLContext:
        """For https. Raises ConfigError."""
        return client_context(self.ca, self.certificate, self.certificate_key)


def carried(
    key_file: Path | None = None, ca: str = "", certificate: str = "", certificate_key: str = ""
) -> Carried:
    """What options and environment say; options win. Raises ConfigError."""
    environment = os.environ.get
    named = key_file or (Path(environment("NEVE_KEY_FILE", "")) if environment("NEVE_KEY_FILE") else None)
    key = (
        _read(named) if named is not None and (key_file is not None or not environment("NEVE_KEY")) else None
    )
    return Carried(
        (key if key is not None else environment("NEVE_KEY", "")).strip(),
        ca or environment("NEVE_CA", ""),
        certificate or environment("NEVE_CERT", ""),
        certificate_key or environment("NEVE_CERT_KEY", ""),
    )


def _read(path: Path) -> str:
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(
            f"cannot read key file {path}: {str(reason).lower()}", "check the path and its rights"
        ) from None
    if not text or not text.isascii() or any(c.isspace() for c in text):
        raise ConfigError(
            f"cannot use key file {path}: it holds no key", "put the key in it, and nothing else"
        )
    return text
