"""What a configuration may say about the cold tier: `[cold]` in the file of `neve serve`.

[cold]
warehouse = "s3://bucket/neve"      # default: a local folder
partition = "day"                   # or "hour"; of tables that are made from now on
age_after_hours = 24                # how long a closed epoch stays hot
grace_seconds = 300                 # how long it stays hot once queries read it from the cold tier
keep_days = 0                       # how long events are kept, by their own time; 0: for ever
named_collection = "lake"           # of ClickHouse, with the credentials of an S3 warehouse

[cold.catalog]                      # as pyiceberg takes it; default: SQLite in the same folder
type = "rest"
uri = "https://catalog.example"

[cold.services]                     # keep_days of single services, shorter or longer than of the others
chatty = 7

[cold.namespaces.debug]             # the same keys but warehouse and catalog, for one namespace
tier = "hot"                        # it has no cold tier: closed epochs are dropped after keep_days
keep_days = 3
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from storage.errors import ConfigError
from storage.schema import NAMESPACE
from storage.sections import FROM_ENVIRONMENT, Secret, resolved

PARTITIONS = ("day", "hour")
TIERS = ("cold", "hot")
SECRET = re.compile(r"secret|password|token|credential|access-key|\bkey\b|auth", re.IGNORECASE)


@dataclass(frozen=True)
class Policy:
    """What holds for one namespace."""

    tier: str = "cold"  # "hot": no cold tier, closed epochs are dropped after keep_days
    partition: str = "day"  # or "hour"; of tables that are made from now on
    age_after_hours: int = 24  # how long a closed epoch stays hot
    grace_seconds: int = 300  # how long it stays hot once queries read it from the cold tier
    keep_days: int = 0  # how long events are kept, by their own time; 0: for ever
    snapshot_days: int = 3  # how long a snapshot that is not the last stays readable
    services: Mapping[str, int] = field(default_factory=dict)  # keep_days of those that are named

    def __post_init__(self) -> None:
        if self.partition not in PARTITIONS or self.tier not in TIERS:
            raise ConfigError(
                f"cannot use {self.tier!r}, {self.partition!r} for the cold tier",
                f"tier is one of {', '.join(TIERS)}, partition one of {', '.join(PARTITIONS)}",
            )


Override = Callable[[str, Policy], Policy]
"""From a namespace and what the file says of it to what holds."""


@dataclass(frozen=True)
class ColdConfig:
    """Where the cold tier is, and what holds for each namespace."""

    folder: Path
    warehouse: str = ""  # a folder, or s3://bucket/path; empty: in the data folder
    catalog: Mapping[str, str] = field(
        default_factory=dict, repr=False
    )  # as pyiceberg takes it; empty: SQLite
    named_collection: str = ""  # of ClickHouse, with the credentials of an S3 warehouse
    default: Policy = Policy()
    namespaces: Mapping[str, Policy] = field(default_factory=dict)
    override: Override | None = field(default=None, repr=False, compare=False)

    def policy(self, namespace: str) -> Policy:
        """What holds for a namespace; what was set of it wins over the file."""
        configured = self.namespaces.get(namespace, self.default)
        return self.override(namespace, configured) if self.override is not None else configured

    @property
    def warehouse_uri(self) -> str:
        return self.warehouse or f"file://{self.folder.absolute() / 'warehouse'}"

    @property
    def is_local(self) -> bool:
        return urlsplit(self.warehouse_uri).scheme in ("", "file")

    @property
    def lake(self) -> Path:
        """The folder that a ClickHouse on this machine has to be allowed to read."""
        return Path(urlsplit(self.warehouse_uri).path) if self.is_local and self.warehouse else self.folder

    def properties(self) -> dict[str, str]:
        """What pyiceberg makes the catalog of."""
        given = dict(self.catalog)
        if not given.get("type") and not given.get("uri"):
            given |= {"type": "sql", "uri": f"sqlite:///{self.folder.absolute() / 'catalog.db'}"}
        given.setdefault("warehouse", self.warehouse_uri)
        if self.is_local:
            given.setdefault("py-io-impl", "storage.cold_files.SyncedFileIO")
        return given

    def catalog_secrets(self) -> dict[str, Secret]:
        """Those values of the catalog's that no log may have."""
        return {
            name: Secret(value) for name, value in self.catalog.items() if SECRET.search(name) or "@" in value
        }

    def scrub(self, text: str) -> str:
        """A text for messages and logs: nothing of it is a credential."""
        text = re.sub(r"://[^/@\s]*@", "://", text)
        for name, value in self.catalog.items():
            if SECRET.search(name) and value:
                text = text.replace(value, "…")
        return text


def cold_config(folder: Path, table: Mapping[str, Any]) -> ColdConfig:
    """Read the table `[cold]`. Raises ConfigError for a key or a value that is not known."""
    given = dict(table)
    catalog = _table("catalog", given.pop("catalog", {}))
    overrides = _table("namespaces", given.pop("namespaces", {}))
    places = {name: given.pop(name) for name in ("warehouse", "named_collection") if name in given}
    for key, value in places.items():
        if not isinstance(value, str):
            raise ConfigError(f"cannot use configuration key 'cold.{key}'", "give a text in quotes")
    for name in overrides:
        if not NAMESPACE.fullmatch(name):
            raise ConfigError(f"cannot use configuration key 'cold.namespaces.{name}'", "name a namespace")
    default = _policy(Policy(), given, "cold")
    return ColdConfig(
        folder,
        catalog={name: _catalog_value(name, value) for name, value in catalog.items()},
        default=default,
        namespaces={
            name: _policy(default, _table(name, one), f"cold.namespaces.{name}")
            for name, one in overrides.items()
        },
        **places,
    )


def _catalog_value(name: str, value: Any) -> str:
    """A credential may be in a file; other values are as pyiceberg takes them (`file:///…`)."""
    text = str(value)
    if SECRET.search(name) or text.startswith(FROM_ENVIRONMENT):
        return resolved(text, f"cold.catalog.{name}")
    return text


def _table(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"cannot use configuration key 'cold.{name}'", "give a table")
    return value


def _policy(default: Policy, given: Mapping[str, Any], where: str) -> Policy:
    known = {one.name: type(one.default) for one in fields(Policy) if one.name != "services"}
    given = dict(given)
    services = {**default.services, **_services(where, given.pop("services", {}))}
    for key, value in given.items():
        if key not in known:
            raise ConfigError(
                f"cannot use configuration key '{where}.{key}'", f"known: {', '.join(known)}, services"
            )
        if type(value) is not known[key] or (isinstance(value, int) and value < 0):
            kind = "a whole number from 0 on" if known[key] is int else "a text in quotes"
            raise ConfigError(f"cannot use configuration key '{where}.{key}': {value!r}", f"give {kind}")
    return replace(default, services=services, **given)


def _services(where: str, given: Any) -> dict[str, int]:
    for service, days in _table(f"{where}.services".removeprefix("cold."), given).items():
        if type(days) is not int or days < 0:
            raise ConfigError(
                f"cannot use configuration key '{where}.services.{service}': {days!r}",
                "give days, 0 for ever",
            )
    return dict(given)
