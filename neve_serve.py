"""`neve serve`: its configuration and command. `neve_supervisor.py` starts the processes, `neve_roles.py` is each.

What only one process needs is imported where that one starts: the web framework takes as much memory as the rest.
"""

from __future__ import annotations

import argparse
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ingest.limits import IngestLimits, check_numbers
from ingest.receivers.listening import ADDRESSES, AUTO, ReceiversConfig
from lexer import Redaction
from lexer.errors import RedactionInvalid
from lexer.redaction import RedactionConfig
from query.alerting.config import AlertsConfig
from query.door import HttpConfig
from query.limits import Limits
from storage.access.config import AuthConfig
from storage.cold_config import ColdConfig, cold_config
from storage.config import ClickHouseConfig, ClickHouseUrls, ClusterConfig, ShardConfig
from storage.errors import ConfigError
from storage.logs import LogConfig
from storage.saved import LinksConfig
from storage.sections import host_and_port, read_section
from storage.tls import ServerTls, TlsConfig
from storage.traces_config import TracesConfig

ROLES = ("gateway", "api", "ager", "alerts", "front")
# How a role learns of what is made at the start; the environment keeps it out of `ps`.
CLICKHOUSE_URL = "NEVE_CLICKHOUSE_URL"
CLICKHOUSE_SEARCH_URL = "NEVE_CLICKHOUSE_SEARCH_URL"
CLICKHOUSE_INGEST_URL = "NEVE_CLICKHOUSE_INGEST_URL"
INSIDE = "NEVE_INSIDE"
SOCKETS = "NEVE_SOCKETS"
PARENT = "NEVE_PARENT"
LOG = "NEVE_LOG"  # the file that a role's standard error is
CONFIG_FILE = Path("neve.toml")  # read where it is there and no other is named
RESTORING = "restoring"  # in the data folder while a backup is restored into it
PINS_FILE = "patterns.toml"  # in the data folder: what operators say about patterns


@dataclass(frozen=True)
class LimitsConfig(IngestLimits):
    """`[limits]`: of what comes in, and in `[limits.search]` of each query."""

    search: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self.search)


@dataclass(frozen=True)
class ServeConfig:
    """What `--config` may say, under the names of the fields. The command line wins over the file."""

    data: Path = Path("data")  # where everything is kept
    listen: str = "127.0.0.1:8780"  # HOST:PORT of the front door
    spool_bytes: int = 4 << 30  # the gateway's spool holds at most this; then senders get 429
    create_namespaces: bool = True  # a namespace is made when somebody first sends to it
    log_level: str = "info"  # of data/logs: debug, info, warn or error
    log_format: str = "json"  # one object a line, or "text"
    log_bytes: int = 20 << 20  # of one file, before another is begun
    log_files: int = 3  # that are kept of each process besides the present one
    clickhouse: ClickHouseUrls = field(default_factory=ClickHouseUrls)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    tls: TlsConfig = field(default_factory=TlsConfig)
    http: HttpConfig = field(default_factory=HttpConfig)
    receivers: ReceiversConfig = field(default_factory=ReceiversConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    traces: TracesConfig = field(default_factory=TracesConfig)
    links: LinksConfig = field(default_factory=LinksConfig)
    alerts: AlertsConfig = field(default_factory=AlertsConfig)
    redaction: RedactionConfig = field(default_factory=RedactionConfig)  # see lexer/redaction.py
    cold: Mapping[str, Any] = field(default_factory=dict, repr=False)  # see storage/cold_config.py

    def log(self) -> LogConfig:
        """What processes write of themselves. Raises ConfigError."""
        return LogConfig(self.log_level, self.log_format, self.log_bytes, self.log_files)

    def cold_config(self, data: Path | None = None) -> ColdConfig:
        """What is said about the cold tier; by default it is in the data folder. Raises ConfigError."""
        return cold_config((data or self.data) / "cold", self.cold)

    def policy(self) -> Redaction | None:
        """What every receiver masks. Raises ConfigError."""
        try:
            return self.redaction.policy()
        except RedactionInvalid as error:
            raise ConfigError(error.message, error.hint) from None

    def address(self) -> tuple[str, int]:
        """Host and port to listen on. Raises ConfigError."""
        return host_and_port(self.listen)

    def shards(self) -> tuple[ShardConfig, ...]:
        """The ClickHouse servers that it names, in order; none where the embedded one is meant. Raises ConfigError."""
        urls = self.clickhouse
        if self.cluster:
            if urls.url or urls.search or urls.ingest:
                hint = "make that server the first of cluster.shards"
                raise ConfigError(
                    "cannot use configuration keys 'clickhouse' and 'cluster.shards' at once", hint
                )
            return self.cluster.configs()
        owner, search, ingest = (
            ClickHouseConfig.from_url(url) if url else None for url in (urls.url, urls.search, urls.ingest)
        )
        return (ShardConfig("", 1, owner, search, ingest),) if owner is not None else ()

    def base(self) -> str:
        """This server's address as people know it, for links in what alerts tell."""
        scheme = "https" if self.tls else "http"
        return self.auth.public_url.rstrip("/") or f"{scheme}://{self.listen}"

    def check(self) -> None:
        """Raises ConfigError for what cannot work, without looking at anything but files."""
        host, _ = self.address()
        self.log()
        self.cold_config()
        self.auth.check_address(host)
        for name in ADDRESSES:
            address = getattr(self.receivers, name)
            if address and address != AUTO:
                self.auth.check_address(host_and_port(address, f"receivers.{name}")[0])
        if self.auth.enabled:
            self.receivers.check_keys()
        self.policy()
        self.shards()
        if self.cluster.gateways and self.auth.enabled and not self.auth.inside:
            hint = "set auth.inside, the same for all of them"
            raise ConfigError("cannot use cluster.gateways: they would not know one another", hint)
        if self.tls:
            ServerTls(self.tls)
        check_pins(self.data / PINS_FILE)


def read_config(path: Path) -> ServeConfig:
    """Read a TOML file. Raises ConfigError for a key or a value that is not known."""
    try:
        found = tomllib.loads(path.read_text())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"cannot read configuration {path}: {reason}", "check the path and its rights"
        ) from None
    except ValueError as error:
        raise ConfigError(f"cannot read configuration {path}: {error}", "give a TOML file") from None
    if isinstance(found.get("clickhouse"), str):
        found["clickhouse"] = {"url": found["clickhouse"]}
    shards = found.get("cluster", {}).get("shards") if isinstance(found.get("cluster"), dict) else None
    if isinstance(shards, dict):
        shards.update({name: {"url": one} for name, one in shards.items() if isinstance(one, str)})
    return read_section(ServeConfig, found)


def config_file(given: Path | None) -> Path | None:
    """The configuration's file: as given, or that of the present folder; None without one."""
    return given or (CONFIG_FILE if CONFIG_FILE.is_file() else None)


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `serve`."""
    parser = commands.add_parser("serve", help="run the server: receivers, search API and storage")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="a TOML file; default: ./neve.toml, if there is one"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="where everything is kept (default: ./data)")
    parser.add_argument("--listen", metavar="HOST:PORT", help="default: 127.0.0.1:8780")
    parser.add_argument("--role", choices=ROLES, help="run one of the server's processes alone")
    parser.set_defaults(run=run)


def settle(args: argparse.Namespace) -> ServeConfig:
    """The configuration that file and command line give together."""
    file = config_file(args.config)
    config = read_config(file) if file else ServeConfig()
    given = {name: getattr(args, name) for name in ("data", "listen") if getattr(args, name, None)}
    config = replace(config, **given)
    return replace(config, data=config.data.absolute())


def run(args: argparse.Namespace) -> int:
    """Run the server, or one role of it. Ends with 0 on SIGINT and SIGTERM."""
    config = settle(args)
    config.check()
    if (config.data / RESTORING).exists():
        raise ConfigError(
            f"cannot use data folder {config.data}: a restore into it did not finish",
            "delete it, and restore again",
        )
    if args.role:
        from neve_roles import run_role

        return run_role(args.role, config)
    make_folder(config.data)
    from neve_supervisor import Server

    return Server(config, config_file(args.config)).run()


def make_folder(data: Path) -> None:
    """The data folder. Raises ConfigError."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"cannot use data folder {data}: {reason}", "give --data a folder that can be written"
        ) from None


def check_pins(path: Path) -> None:
    """Refuse to start with pins that cannot be used. Raises ConfigError."""
    if path.exists():
        from lexer.errors import PinsInvalid
        from lexer.pins import read_pins

        try:
            read_pins(path)
        except PinsInvalid as error:
            raise ConfigError(error.message, error.hint) from None
