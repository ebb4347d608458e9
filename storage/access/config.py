"""What a configuration says about access: `[auth]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from storage.errors import ConfigError
from storage.sections import NO_SECRET, Secret

INSECURE = "anyone who can reach this address may read and write everything"
"""What `auth.insecure` must say, word for word, for a server that others reach and that asks nobody who they are."""


@dataclass(frozen=True)
class OidcConfig:
    """A provider that people log in at."""

    issuer: str = (
        ""  # https://… of the provider, which has /.well-known/openid-configuration; empty: no login
    )
    client_id: str = ""  # as it is registered there
    client_secret: Secret = NO_SECRET  # of a confidential client; empty for a public one
    scopes: tuple[str, ...] = ("openid", "profile", "email")  # that are asked for
    name_claim: str = "email"  # the claim that names people, in the audit log too; else sub
    role_claim: str = "groups"  # the claim whose values are looked up in roles
    roles: Mapping[str, str] = field(default_factory=dict)  # value of that claim = name of a role, or admin
    default_role: str = ""  # of who has none of them; empty: they may nothing

    def __post_init__(self) -> None:
        if self.issuer and not self.client_id:
            raise ConfigError("cannot use configuration key 'auth.oidc.issuer' alone", "give client_id too")
        for value, role in self.roles.items():
            if not isinstance(role, str):
                raise ConfigError(
                    f"cannot use configuration key 'auth.oidc.roles.{value}'", "give a role's name"
                )


@dataclass(frozen=True)
class CertificateConfig:
    """What the owner of a client certificate may."""

    namespaces: tuple[str, ...] = ()  # that it may write to; empty: all


@dataclass(frozen=True)
class AuthConfig:
    """Whether people and programs have to say who they are."""

    enabled: bool = False  # every request needs a key, a login or a client certificate
    insecure: str = ""  # the sentence that lets others reach a server without authentication
    open_metrics: bool = False  # /metrics needs no key
    open_docs: bool = True  # /docs and /openapi.json need no key
    session_hours: int = 12  # after which a login at the page ends
    public_url: str = ""  # of this server, as browsers see it: https://neve.example; empty: as they ask
    inside: Secret = NO_SECRET  # by which processes on several machines know one another
    oidc: OidcConfig = field(default_factory=OidcConfig)
    certificates: Mapping[str, CertificateConfig] = field(default_factory=dict)  # by common name or DNS name

    def check_address(self, host: str) -> None:
        """Refuse to serve others without authentication. Raises ConfigError."""
        if self.insecure and self.insecure != INSECURE:
            raise ConfigError("cannot use configuration key 'auth.insecure'", f"it must say: {INSECURE}")
        if not self.enabled and not self.insecure and not _is_loopback(host):
            raise ConfigError(
                f"cannot listen on {host} without authentication",
                "set auth.enabled = true (docs/security.md), or listen on 127.0.0.1",
            )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
