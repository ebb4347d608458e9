"""What holds for one namespace: settings that are kept in ClickHouse and win over the configuration's `[cold]`.

| setting | says |
|---|---|
| keep_days, age_after_hours, grace_seconds, snapshot_days, tier, services | as in `[cold]` |
| ingest_bytes_per_second, ingest_lines_per_second | that its senders may send together; beyond it 429 |
| query_seconds, query_rows, query_bytes, query_memory_bytes | of one query; no more than `[limits.search]` lets any |

A setting that is not there leaves the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from storage.cold_config import TIERS, ColdConfig, Policy
from storage.documents import Asks, Documents
from storage.errors import KeyInvalid

RETENTION = ("tier", "age_after_hours", "grace_seconds", "keep_days", "snapshot_days")
LIMITS = (
    "ingest_bytes_per_second",
    "ingest_lines_per_second",
    "query_seconds",
    "query_rows",
    "query_bytes",
    "query_memory_bytes",
)
SERVICES = "services"
MOST = 1 << 62


@dataclass(frozen=True)
class Settings:
    """What was set of a namespace. `deleted_at`: seconds since 1970; it is gone, or about to be."""

    values: Mapping[str, int | str] = field(default_factory=dict)
    services: Mapping[str, int] = field(default_factory=dict)
    deleted_at: float = 0.0

    def limit(self, name: str) -> int | None:
        """One of LIMITS; None where it is not set."""
        assert name in LIMITS
        found = self.values.get(name)
        return found if isinstance(found, int) else None

    def policy(self, default: Policy) -> Policy:
        """How long what is kept where; `default`: what the configuration says."""
        given: dict[str, Any] = {name: self.values[name] for name in RETENTION if name in self.values}
        return replace(default, **given, services={**default.services, **self.services})

    def changed(self, asked: Mapping[str, Any]) -> Settings:
        """With some set anew; None unsets. Raises KeyInvalid."""
        values, services = dict(self.values), dict(self.services)
        for name, value in asked.items():
            if name == SERVICES:
                services = _services(services, value)
            elif value is None and name in (*RETENTION, *LIMITS):
                values.pop(name, None)
            else:
                values[name] = _checked(name, value)
        return replace(self, values=values, services=services)

    def to_json(self) -> dict[str, Any]:
        """As it is stored, and shown."""
        return {**self.values, SERVICES: dict(self.services), "deleted_at": self.deleted_at or None}

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Settings:
        """What `to_json` gave; what a newer version set is left out."""
        values = {name: said[name] for name in (*RETENTION, *LIMITS) if name in said}
        return cls(values, said.get(SERVICES) or {}, said.get("deleted_at") or 0.0)


class StoredPolicies:
    """What was set of namespaces, over what the configuration says; asked of ClickHouse each time."""

    def __init__(self, hot: Asks) -> None:
        self._settings = Documents(hot, "namespaces")

    def __call__(self, namespace: str, configured: Policy) -> Policy:
        return Settings.read(self._settings.get(namespace) or {}).policy(configured)

    def all(self) -> dict[str, Settings]:
        """The settings of every namespace that has some."""
        return {name: Settings.read(one) for name, one in self._settings.all().items()}


def stored_over(config: ColdConfig, hot: Asks) -> ColdConfig:
    """The same configuration, with what was set of namespaces over it."""
    return replace(config, override=StoredPolicies(hot))


def _checked(name: str, value: Any) -> int | str:
    if name == "tier":
        if value not in TIERS:
            raise KeyInvalid(f"cannot set tier to {str(value)[:40]!r}", f"use {' or '.join(TIERS)}")
        return str(value)
    if name not in (*RETENTION, *LIMITS):
        known = ", ".join((*RETENTION, SERVICES, *LIMITS))
        raise KeyInvalid(f"cannot set {name[:40]!r}: there is no such setting", f"known: {known}")
    least = 0 if name in RETENTION else 1
    if type(value) is not int or not least <= value <= MOST:
        raise KeyInvalid(f"cannot set {name} to {str(value)[:40]!r}", f"give a whole number from {least} on")
    return value


def _services(known: dict[str, int], value: Any) -> dict[str, int]:
    """keep_days by service; None unsets one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise KeyInvalid("cannot set services", "give keep_days by name of service")
    for service, days in value.items():
        if days is None:
            known.pop(service, None)
        elif type(days) is not int or not 0 <= days <= 1 << 20:
            raise KeyInvalid(f"cannot set keep_days of {service[:40]!r}", "give days, 0 for ever")
        else:
            known[service] = days
    return known
