"""The gateway's state: spool, ledger, committer and inserter over one data folder."""

import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ingest.arrivals import Arrivals
from ingest.batch import DEFAULT_NAMESPACE
from ingest.committer import Committer
from ingest.counters import LIMITS_HIT, Counters
from ingest.deadletter import DeadLetters
from ingest.freshness import Freshness
from ingest.holding import Holding
from ingest.inserter import INSERT_BUCKETS, Inserter
from ingest.ledger import Ledger
from ingest.limits import SENDING, IngestLimits, Rate, RateExceeded, Rates, Share
from ingest.namespaces import Namespaces
from ingest.pace import Pace
from ingest.peers import Peers
from ingest.placing import Placing
from ingest.receivers.listening import ReceiversConfig
from ingest.replay import Replayer
from ingest.spool import DEFAULT_QUOTA_BYTES, KEEP_BYTES, Spool
from ingest.state import StateFolder
from lexer import Redaction
from storage.access.access import Access
from storage.access.audit import Audit
from storage.access.book import Book
from storage.access.carried import carried
from storage.access.config import AuthConfig
from storage.access.identity import AUDIT
from storage.catching_up_aside import catch_up_aside
from storage.cold_config import ColdConfig
from storage.config import ClickHouseConfig, ShardConfig
from storage.embedded_files import sync_folders
from storage.errors import ConfigError, NeveError, QueryFailed, StorageUnavailable
from storage.hot import Hot
from storage.logs import fields_of
from storage.metrics import Histogram
from storage.shards import NOT_THERE, Shard, Shards, bring_up
from storage.spreading import Spread, bring_up_to_date
from storage.tls import TlsConfig

log = logging.getLogger("neve.gateway")
COUNTED = (
    "blocks_received", "blocks_duplicate", "blocks_shipped", "blocks_refused", "blocks_damaged", "inserts",
    "inserts_unknown", "lines_received", "lines_shipped", "lines_refused", "requests_received", "requests_duplicate",
    "requests_over_rate", "requests_too_slow", "requests_too_many", "blocks_not_redacted",
    *(f"{LIMITS_HIT}{reason}" for reason in ("namespace_rate", "key_rate", "bodies", "requests", "slow_body", "spool")),
)  # fmt: skip
"""Counters that are there from the start: what is first seen at one has never grown, for who watches it."""
WATCH_SECONDS = 10.0
"""How long ClickHouse may say nothing about its own state."""


@dataclass(frozen=True)
class GatewaySettings:
    """`data_dir` holds spool, ledger and dead letters. The `namespaces` are made at the start; with
    `create_namespaces` any other is made when somebody first sends to it. `embedded` is the folder of the
    ClickHouse that runs beside it, if one does: what is made there is synced.
    `cold`: where blocks that have aged are looked for. `receivers`: what else it listens on, on `host` where no
    address is said. `auth`, `inside`: who may send, and the word by which the server's processes know one another.
    `socket`: its own, for its audit events. `inserting`: who stores events, where that is another user than
    `clickhouse`. `tls`: what those listeners show that can speak it. `shards`: the servers of a cluster, in place of
    `clickhouse` and `inserting`."""

    data_dir: Path
    clickhouse: ClickHouseConfig
    namespaces: tuple[str, ...] = (DEFAULT_NAMESPACE,)
    create_namespaces: bool = True
    spool_quota_bytes: int = DEFAULT_QUOTA_BYTES
    embedded: Path | None = None
    cold: ColdConfig | None = None
    redaction: Redaction | None = None
    limits: IngestLimits = field(default_factory=IngestLimits)
    receivers: ReceiversConfig = field(default_factory=lambda: ReceiversConfig(otlp_grpc=""))
    host: str = "127.0.0.1"
    auth: AuthConfig = field(default_factory=AuthConfig)
    inside: str = field(default="", repr=False)
    socket: str = ""
    inserting: ClickHouseConfig | None = None
    tls: TlsConfig = field(default_factory=TlsConfig)
    shards: tuple[ShardConfig, ...] = ()
    gateways: tuple[str, ...] = ()

    @property
    def servers(self) -> tuple[ShardConfig, ...]:
        """Where blocks go."""
        return self.shards or (ShardConfig("", 1, self.clickhouse, ingest=self.inserting),)


class GatewayState:
    """Everything behind the gateway's routes. `start` recovers and starts the threads, `stop` ends them."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Takes the data folder. Raises StateInUse where another process holds it, OSError."""
        self.settings = settings
        self._started = time.monotonic()
        self.counters = Counters(_say)
        self.counters.add_all(dict.fromkeys(COUNTED, 0))
        self._rates = Rates()
        self._folder = StateFolder(settings.data_dir)
        self.shards = Shards(settings.servers, settings.cold)
        self.shards.on_return.append(self._bring_up)
        # For whoever looks at its state or waits for an answer: a ClickHouse that hangs must not hold them up, nor they
        # the connections of those who work.
        self.watching = self.shards.beside(pool_size=2, send_receive_timeout=WATCH_SECONDS)
        documents = Spread(self.watching) if self.shards.several else self.watching.home.hot
        self.book = Book(documents, settings.data_dir / "access.json")
        self.access = Access(settings.auth, self.book, settings.inside)
        audited = settings.socket and settings.auth.enabled
        self.audit = Audit(settings.socket, self.access.inside_headers()) if audited else None
        self.namespaces = Namespaces(
            self.shards,
            settings.data_dir / "namespaces.json",
            asking=self.watching,
            create=settings.create_namespaces,
            made=lambda: sync_folders(settings.embedded) if settings.embedded else None,
            is_gone=self.book.is_gone,
        )
        self._remembered = self.namespaces.known
        self.spool = Spool(self._folder.spool, settings.spool_quota_bytes, KEEP_BYTES)
        self.ledger = Ledger(settings.data_dir / "ledger" / "accepted")
        self.dead_letters = DeadLetters(self._folder.dead_letters)
        self.arrivals = Arrivals()
        self.freshness = Freshness()
        placing = Placing(self.shards, self.spool)
        self.committer = Committer(
            self.spool, self.ledger, self.counters, self.arrivals, self.freshness, placing.choose
        )
        self.committer.on_failure = _end  # what starts it anew goes on with what is on disk
        self.replayer = Replayer(self.spool, self.ledger, self.committer, self.dead_letters, self.shards)
        self.replaying = threading.Lock()
        self.listening: dict[str, str] = {}  # where receivers other than HTTP listen, or why they do not
        self.name = self._folder.identity().agent_id
        self.insert_seconds = Histogram(INSERT_BUCKETS)
        self.holding = Holding()
        self._pace = Pace()
        self.peers = (
            Peers(
                settings.gateways,
                self.name,
                self.access.secret(),
                self.committer.accepted_before,
                carried(),
                shared=self.access.shares_secret,
            )
            if settings.gateways
            else None
        )
        self.inserters = {one.number: self._inserter(one) for one in self.shards}

    def _inserter(self, shard: Shard) -> Inserter:
        several = self.shards.several
        return Inserter(
            self.spool,
            shard.hot,
            self.settings.data_dir,
            self.dead_letters,
            self.committer.retire,
            self.counters,
            prepare=lambda: self._prepare(shard),
            put_away=self.committer.set_aside,
            doubtful=self.committer.may_be_forgotten,
            name=self.name,
            kind="gateway",
            is_gone=self.book.is_gone,
            shard=shard.name,
            lost=lambda error: self.shards.lost(shard, error),
            rows_anywhere=self._rows_anywhere if several else None,
            seconds=self.insert_seconds,
            lacking=lambda namespace: self.namespaces.ensure(namespace, shard.hot),
            holding=self.holding,
            pace=self._pace if several else None,
        )

    @property
    def hot(self) -> Hot:
        """The first shard; the only one of a server alone."""
        return self.shards.home.hot

    @property
    def inserter(self) -> Inserter:
        """Of the first shard."""
        return self.inserters[self.shards.home.number]

    def start(self) -> None:
        """Recover, then begin to take and to insert. Raises OSError, StateDamaged, ConfigError."""
        self.committer.recover()
        self._refuse_strays()
        self.shards.start()
        self.book.start()
        self.committer.start()
        for inserter in self.inserters.values():
            inserter.start()
        if self.audit is not None:
            self.audit.start()

    def stop(self) -> None:
        """Everything acknowledged is on disk by now; what is not inserted waits for the next start."""
        if self.audit is not None:
            self.audit.stop()
        self.book.stop()
        self.committer.stop()
        stopping = [threading.Thread(target=one.stop) for one in self.inserters.values()]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        self.ledger.close()
        self.shards.close()
        self.watching.close()
        self._folder.close()

    def admit(self, namespace: str, lines: int = 0, size: int = 0) -> None:
        """Count what a request brings towards the rates of its namespace and of its key, or look whether it may bring
        something at all.

        Raises RateExceeded, which is counted.
        """
        shares = [Share("namespace", namespace, self._rate_of(namespace))]
        if key := self.book.known.keys.get(SENDING.get()):
            shares.append(Share("key", key.id, Rate(key.events_per_second, key.bytes_per_second)))
        try:
            self._rates.take(shares, lines, size)
        except RateExceeded as error:
            self.counters.add("requests_over_rate")
            self.counters.add(f"{LIMITS_HIT}{error.reason}")
            raise

    def _rate_of(self, namespace: str) -> Rate:
        """What was set of a namespace holds over what the configuration says."""
        rate, settings = self.settings.limits.rate(namespace), self.book.settings(namespace)
        return Rate(
            settings.limit("ingest_lines_per_second") or rate.lines_per_second,
            settings.limit("ingest_bytes_per_second") or rate.bytes_per_second,
        )

    def status(self) -> dict[str, Any]:
        """Depth, age, reasons and counters, for `GET /gateway/status`. ClickHouse is not asked."""
        troubles = self.counters.troubles()
        spool, disk = self.spool.stats(), shutil.disk_usage(self.settings.data_dir)
        return {
            "version": version("neve"),
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "spool": asdict(spool),
            "lag_seconds": round(spool.oldest_age, 3),
            "ledger": {"ids": len(self.ledger), "damaged_records": self.ledger.damaged_records},
            "dead_letters": len(self.dead_letters),
            "inserting": self.is_inserting(),
            "inserter": self.name,
            "disk": {"free_bytes": disk.free, "total_bytes": disk.total},
            "receivers": dict(self.listening),
            "troubles": troubles,
            "counters": self.counters.all(),
            **({"shards": shards} if (shards := self.shard_statuses()) else {}),
        }

    def is_inserting(self) -> bool:
        """Does ClickHouse, or any shard of it, take blocks?"""
        return any(self._takes(one) for one in self.shards)

    def _takes(self, shard: Shard) -> bool:
        inserter, troubles = self.inserters[shard.number], self.counters.troubles()
        own = inserter.failure is not None or inserter.own_subject in troubles
        return not own and f"clickhouse {shard.name}".rstrip() not in troubles

    def shard_statuses(self) -> list[dict[str, Any]]:
        """What waits for each shard of a cluster, and whether it answers; nothing of a server alone."""
        return [
            {
                "shard": one.name,
                "number": one.number,
                "weight": one.weight,
                "alive": one.alive,
                "reason": one.reason,
                "inserting": self._takes(one),
                **asdict(self.spool.waits_for(one.number)),
            }
            for one in self.shards
            if self.shards.several
        ]

    def _rows_anywhere(self, namespace: str, block_ids: Sequence[bytes]) -> dict[bytes, int]:
        """How many rows of blocks there are, whichever shard has them. Raises NeveError where one can't be asked."""
        found = dict.fromkeys(block_ids, 0)
        for shard in self.shards:
            try:
                rows = shard.hot.rows_present(namespace, block_ids)
            except QueryFailed as error:
                if error.server_code in NOT_THERE:
                    continue
                raise
            except StorageUnavailable as error:
                raise NeveError(
                    f"cannot tell whether shard {shard.name} has old blocks: {error.message}"
                ) from None
            found |= {block_id: count for block_id, count in rows.items() if count}
        return found

    def _refuse_strays(self) -> None:
        """Raises ConfigError where blocks wait for a shard that the configuration does not have."""
        for number in sorted(self.spool.shards()):
            if self.shards.numbered(number) is None:
                waiting = self.spool.waits_for(number).depth
                raise ConfigError(
                    f"cannot do without shard {number}: {waiting} blocks wait for it in {self.spool.folder}",
                    "put it back into cluster.shards, with weight = 0, until they are stored",
                )

    def _bring_up(self, shard: Shard) -> None:
        """A shard that was away gets what the others got meanwhile. One that hangs must not hold up the others."""
        mine = self.watching.all[shard.number - 1]
        bring_up(self.watching, mine, self.book.is_gone)
        bring_up_to_date(self.watching, mine)

    def _prepare(self, shard: Shard) -> None:
        audited = (AUDIT,) if self.audit is not None else ()
        for namespace in (*self.settings.namespaces, *audited):
            self.namespaces.ensure(namespace, shard.hot)
        if self.settings.cold is not None:
            self._catch_up(self.settings.cold, shard)
        for namespace in self.settings.namespaces:
            if self.shards.several and not shard.hot.epochs.last(namespace)[0]:
                shard.hot.open_epoch(namespace)  # from now on the server itself says which shard it is

    def _catch_up(self, cold: ColdConfig, shard: Shard) -> None:
        """Before anything is stamped: numbers of epochs that are cold must not be used again (storage/catching_up.py).

        Without an answer from the catalog it goes on, unless ClickHouse has forgotten a namespace that was there.
        """
        try:
            if said := catch_up_aside(shard.said.owner, cold, shard.number):
                self.counters.trouble("cold tier", said)
        except NeveError as error:
            lost = [name for name in self._remembered if not shard.hot.epochs.last(name)[0]]
            if lost:
                raise NeveError(f"cannot tell which epochs of {lost[0]} are cold: {error.message}") from None
            self.counters.trouble("cold tier", error.message)


def _end() -> None:
    """End this process in order."""
    os.kill(os.getpid(), signal.SIGTERM)


def _say(subject: str, reason: str) -> None:
    """Write down what is in trouble, and when that is over."""
    if reason:
        log.warning("%s: %s", subject, reason, extra=fields_of(subject=subject))
    else:
        log.info("%s: well again", subject, extra=fields_of(subject=subject))
