"""How to reach ClickHouse: one frozen value, made by hand or from a URL."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from storage.errors import ConfigError
from storage.numbers import MOST_SHARDS
from storage.sections import NO_SECRET, Secret

MOST_GATEWAYS = 64
"""Each is named in the id of each event of a live tail."""
SCHEMES = {"clickhouse": False, "clickhouses": True}  # scheme → TLS
DEFAULT_PORTS = {False: 9000, True: 9440}
DEFAULT_HTTP_PORTS = {False: 8123, True: 8443}


@dataclass(frozen=True)
class ClickHouseUrls:
    """Which server, and as whom. A text in place of the table is its `url`."""

    url: Secret = NO_SECRET  # clickhouse://user:password@host:port; empty: the embedded server
    search: Secret = NO_SECRET  # the same server as a user who may only read; empty: as url
    ingest: Secret = NO_SECRET  # … who may only insert events; empty: as url
    backup_disk: str = ""  # a disk of that server that `backups.allowed_disk` names, for neve backup


@dataclass(frozen=True)
class ShardUrls:
    """One server of a cluster. A text in place of the table is its `url`."""

    url: Secret = NO_SECRET  # clickhouse://user:password@host:port, of this server alone
    search: Secret = NO_SECRET  # the same server as a user who may only read; empty: as url
    ingest: Secret = NO_SECRET  # … who may only insert events; empty: as url
    weight: int = 1  # its share of the events, beside the others'; 0: none that are new


@dataclass(frozen=True)
class ClusterConfig:
    """Several ClickHouse servers, each with a part of the events."""

    shards: Mapping[str, ShardUrls] = field(default_factory=dict)  # by name; new ones go to the end
    gateways: tuple[str, ...] = ()  # addresses of all: senders may meet several as one; live tail, backups
    backup_disk: str = ""  # a disk of each server that its `backups.allowed_disk` names, for neve backup

    def __post_init__(self) -> None:
        for url in self.gateways:
            if not re.fullmatch("https?://[^/]+/?", url):
                key = "cluster.gateways"
                raise ConfigError(f"cannot use configuration key {key!r}: {url!r}", "give http://HOST:PORT")
        if len(self.gateways) > MOST_GATEWAYS:
            what = f"cannot use {len(self.gateways)} addresses in cluster.gateways"
            raise ConfigError(what, f"use at most {MOST_GATEWAYS}")

    def __bool__(self) -> bool:
        return bool(self.shards)

    def configs(self) -> tuple[ShardConfig, ...]:
        """The shards in their order. Raises ConfigError for what cannot work."""
        found = [_shard(number, name, urls) for number, (name, urls) in enumerate(self.shards.items(), 1)]
        if len(found) > MOST_SHARDS:
            raise ConfigError(f"cannot use {len(found)} shards", f"use at most {MOST_SHARDS}")
        if found and not any(one.weight for one in found):
            raise ConfigError("cannot use weights of cluster.shards: all are 0", "give one of them 1")
        for one in found:
            for other in found[: one.number - 1]:
                _check_pair(other, one)
        return tuple(found)


@dataclass(frozen=True)
class ShardConfig:
    """How to reach one shard, and as whom. `number`: its place, from 1. A server alone has no name."""

    name: str
    number: int
    owner: ClickHouseConfig
    search: ClickHouseConfig | None = None
    ingest: ClickHouseConfig | None = None
    weight: int = 1


@dataclass(frozen=True)
class ClickHouseConfig:
    """One ClickHouse server, spoken to over its native protocol; over HTTP where it shall answer in Arrow."""

    host: str = "127.0.0.1"
    port: int = 9000
    user: str = "default"
    password: str = field(default="", repr=False)
    secure: bool = False
    verify: bool = True  # check the server's certificate, when secure
    connect_timeout: float = 5.0  # seconds
    send_receive_timeout: float = 300.0  # seconds that the server may stay silent
    pool_size: int = 8  # connections at once, for each Hot
    http_port: int = 0  # 0: 8123, or 8443 where secure

    @classmethod
    def from_url(cls, url: str) -> ClickHouseConfig:
        """`clickhouse://user:password@host:port?pool_size=4`; `clickhouses://` for TLS. Unknown keys fail."""
        form = "clickhouse://user:password@host:port"
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ConfigError(
                f"cannot read clickhouse url: {without_password(url)}", f"write {form}"
            ) from None
        if parts.scheme not in SCHEMES or not parts.hostname or parts.path not in ("", "/"):
            raise ConfigError(f"cannot read clickhouse url: {without_password(url)}", f"write {form}")
        try:
            port = parts.port
        except ValueError:
            what = f"cannot read port of clickhouse url: {without_password(url)}"
            raise ConfigError(what, "give a number up to 65535") from None
        secure = SCHEMES[parts.scheme]
        return cls(
            host=parts.hostname,
            port=port or DEFAULT_PORTS[secure],
            user=unquote(parts.username or "default"),
            password=unquote(parts.password or ""),
            secure=secure,
            **_options(parts.query),
        )

    def url(self) -> str:
        """The URL that `from_url` reads back as this value; it holds the password."""
        scheme = "clickhouses" if self.secure else "clickhouse"
        host = f"[{self.host}]" if ":" in self.host else self.host
        login = quote(self.user, safe="") + ":" + quote(self.password, safe="")
        changed = {name: _text(value) for name, value in self._changed_options().items()}
        query = f"?{urlencode(changed)}" if changed else ""
        return f"{scheme}://{login}@{host}:{self.port}{query}"

    def http_address(self) -> tuple[str, int]:
        """Host and port of the HTTP interface."""
        return self.host, self.http_port or DEFAULT_HTTP_PORTS[self.secure]

    def _changed_options(self) -> dict[str, object]:
        defaults = {f.name: f.default for f in fields(self)}
        return {name: getattr(self, name) for name in OPTIONS if getattr(self, name) != defaults[name]}


def _flag(text: str) -> bool:
    return {"1": True, "true": True, "0": False, "false": False}[text.lower()]


def _positive(number: Callable[[str], float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = number(text)
        if not value > 0:
            raise ValueError(text)
        return value

    return read


OPTIONS: dict[str, Callable[[str], object]] = {
    "verify": _flag,
    "connect_timeout": _positive(float),
    "send_receive_timeout": _positive(float),
    "pool_size": _positive(int),
    "http_port": _positive(int),
}


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _options(query: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS:
            known = ", ".join(sorted(OPTIONS))
            raise ConfigError(f"cannot use clickhouse option: {name}", f"use one of {known}")
        try:
            found[name] = OPTIONS[name](text)
        except (KeyError, ValueError):
            what = f"cannot read clickhouse option {name}: {text}"
            raise ConfigError(what, "give a positive number, or 0 or 1 for a switch") from None
    return found


def _shard(number: int, name: str, urls: ShardUrls) -> ShardConfig:
    key = f"cluster.shards.{name}"
    if not re.fullmatch("[a-z][a-z0-9_-]{0,31}", name):
        hint = "use up to 32 lower-case letters, digits, _ and -, a letter first"
        raise ConfigError(f"cannot use name of shard: {name!r}", hint)
    if not urls.url:
        raise ConfigError(f"cannot use configuration key {key!r}: it has no url", "give its url")
    if urls.weight < 0:
        raise ConfigError(f"cannot use configuration key '{key}.weight': {urls.weight}", "give 0 or more")
    owner, *others = (
        ClickHouseConfig.from_url(url) if url else None for url in (urls.url, urls.search, urls.ingest)
    )
    assert owner is not None
    for other in others:
        if other is not None and (other.host, other.port) != (owner.host, owner.port):
            raise ConfigError(
                f"cannot use {key!r}: its urls name several servers", "give the same address in all"
            )
    search, ingest = others
    return ShardConfig(name, number, owner, search, ingest, urls.weight)


def _check_pair(first: ShardConfig, second: ShardConfig) -> None:
    """Two shards are two servers, where the same users are known: each asks the others as who asked it."""
    where = f"{second.owner.host}:{second.owner.port}"
    if (first.owner.host, first.owner.port) == (second.owner.host, second.owner.port):
        raise ConfigError(
            f"cannot use shards {first.name} and {second.name}: both are at {where}",
            "give each a server of its own",
        )
    for kind in ("owner", "search", "ingest"):
        one, other = getattr(first, kind), getattr(second, kind)
        if (one and (one.user, one.password)) != (other and (other.user, other.password)):
            raise ConfigError(
                f"cannot use shards {first.name} and {second.name}: their users differ",
                "give all shards the same users, with the same passwords",
            )


def without_password(url: str) -> str:
    """A URL as messages show it, whatever is wrong with it."""
    scheme, separator, rest = url.partition("://")
    if not separator:  # what stands before an @ is a password all the same
        scheme, rest = "", url
    return scheme + separator + rest.rpartition("@")[2]


def http_parts(url: str) -> SplitResult | None:
    """The parts of the address of a server of ours; None where it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.hostname else None
