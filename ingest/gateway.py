"""The gateway's state: spool, ledger, committer and inserter over one data folder."""

import logging
import shutil
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ingest.arrivals import Arrivals
from ingest.batch import DEFAULT_NAMESPACE
from ingest.committer import Committer
from ingest.counters import Counters
from ingest.deadletter import DeadLetters
from ingest.freshness import Freshness
from ingest.holding import Holding
from ingest.inserter import Inserter
from ingest.ledger import Ledger
from ingest.limits import IngestLimits, RateExceeded, Rates
from ingest.namespaces import Namespaces
from ingest.receivers.listening import ReceiversConfig
from ingest.replay import Replayer
from ingest.spool import DEFAULT_QUOTA_BYTES, KEEP_BYTES, Spool
from ingest.state import StateFolder
from lexer import Redaction
from storage.access.access import Access
from storage.access.audit import Audit
from storage.access.book import Book
from storage.access.config import AuthConfig
from storage.access.identity import AUDIT
from storage.catching_up_aside import catch_up_aside
from storage.cold_config import ColdConfig
from storage.config import ClickHouseConfig
from storage.embedded_files import sync_folders
from storage.errors import NeveError
from storage.hot import Hot
from storage.logs import fields_of
from storage.tls import TlsConfig

log = logging.getLogger("neve.gateway")
COUNTED = (
    "blocks_received", "blocks_duplicate", "blocks_shipped", "blocks_refused", "blocks_damaged", "inserts",
    "inserts_unknown", "lines_received", "lines_shipped", "lines_refused", "requests_received", "requests_duplicate",
    "requests_over_rate", "requests_too_slow", "requests_too_many", "blocks_not_redacted",
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
    `clickhouse`. `tls`: what those listeners show that can speak it."""

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


class GatewayState:
    """Everything behind the gateway's routes. `start` recovers and starts the threads, `stop` ends them."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Takes the data folder. Raises StateInUse where another process holds it, OSError."""
        self.settings = settings
        self._started = time.monotonic()
        self.counters = Counters(_say)
        self.counters.add_all(dict.fromkeys(COUNTED, 0))
        self._rates = Rates(settings.limits)
        self._folder = StateFolder(settings.data_dir)
        self.hot = Hot(settings.clickhouse, settings.cold, settings.inserting)
        # For whoever looks at its state or waits for an answer: a ClickHouse that hangs must not hold them up, nor they
        # the connections of those who work.
        self.watching = Hot(replace(settings.clickhouse, pool_size=2, send_receive_timeout=WATCH_SECONDS))
        self.book = Book(self.watching, settings.data_dir / "access.json")
        self.access = Access(settings.auth, self.book, settings.inside)
        audited = settings.socket and settings.auth.enabled
        self.audit = Audit(settings.socket, self.access.inside_headers()) if audited else None
        self.namespaces = Namespaces(
            self.hot,
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
        self.committer = Committer(self.spool, self.ledger, self.counters, self.arrivals, self.freshness)
        self.replayer = Replayer(self.spool, self.ledger, self.committer, self.dead_letters, self.hot)
        self.replaying = threading.Lock()
        self.listening: dict[str, str] = {}  # where receivers other than HTTP listen, or why they do not
        self.name = self._folder.identity().agent_id
        self.holding = Holding()
        self.inserter = Inserter(
            self.spool,
            self.hot,
            settings.data_dir,
            self.dead_letters,
            self.committer.retire,
            self.counters,
            prepare=self._prepare,
            put_away=self.committer.set_aside,
            doubtful=self.committer.may_be_forgotten,
            name=self.name,
            kind="gateway",
            is_gone=self.book.is_gone,
            holding=self.holding,
        )

    def start(self) -> None:
        """Recover, then begin to take and to insert. Raises OSError, StateDamaged."""
        self.committer.recover()
        self.book.start()
        self.committer.start()
        self.inserter.start()
        if self.audit is not None:
            self.audit.start()

    def stop(self) -> None:
        """Everything acknowledged is on disk by now; what is not inserted waits for the next start."""
        if self.audit is not None:
            self.audit.stop()
        self.book.stop()
        self.committer.stop()
        self.inserter.stop()
        self.ledger.close()
        self.hot.close()
        self.watching.close()
        self._folder.close()

    def admit(self, namespace: str, lines: int = 0, size: int = 0) -> None:
        """Count what a request brings towards its namespace's rate, or look whether it may bring something at all.

        Raises RateExceeded, which is counted.
        """
        try:
            self._rates.take(namespace, lines, size)
        except RateExceeded:
            self.counters.add("requests_over_rate")
            raise

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
            "inserting": self.inserter.failure is None and "clickhouse" not in troubles,
            "inserter": self.name,
            "disk": {"free_bytes": disk.free, "total_bytes": disk.total},
            "receivers": dict(self.listening),
            "troubles": troubles,
            "counters": self.counters.all(),
        }

    def storage_status(self) -> dict[str, Any]:
        """What ClickHouse says, for `GET /gateway/storage`. Raises NeveError."""
        hot = self.watching
        return {
            "clickhouse": {"version": hot.version()},
            "namespaces": [asdict(one) for one in hot.sizes()],
            "epochs": [asdict(one) for one in hot.epochs.overview()],
            "inserters": [one.to_json() for one in hot.registry.all()],
        }

    def _prepare(self) -> None:
        audited = (AUDIT,) if self.audit is not None else ()
        for namespace in (*self.settings.namespaces, *audited):
            self.namespaces.ensure(namespace)
        if self.settings.cold is not None:
            self._catch_up(self.settings.cold)

    def _catch_up(self, cold: ColdConfig) -> None:
        """Before anything is stamped: numbers of epochs that are cold must not be used again (storage/catching_up.py).

        Without an answer from the catalog it goes on, unless ClickHouse has forgotten a namespace that was there.
        """
        try:
            if said := catch_up_aside(self.settings.clickhouse, cold):
                self.counters.trouble("cold tier", said)
        except NeveError as error:
            lost = [name for name in self._remembered if not self.hot.epochs.last(name)[0]]
            if lost:
                raise NeveError(f"cannot tell which epochs of {lost[0]} are cold: {error.message}") from None
            self.counters.trouble("cold tier", error.message)


def _say(subject: str, reason: str) -> None:
    """Write down what is in trouble, and when that is over."""
    if reason:
        log.warning("%s: %s", subject, reason, extra=fields_of(subject=subject))
    else:
        log.info("%s: well again", subject, extra=fields_of(subject=subject))
