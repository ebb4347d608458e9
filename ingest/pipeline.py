"""The agent on a page: bytes of files → lexer's columns → sealed block → spool → gateway or ClickHouse.

    reading thread     sources fill a batch: `Files`, `Stdin` → `Batch`
    sealer thread      batch → sealed block → spool, fsynced: `Sealer`
    shipping thread    spool → gateway (`Shipper`) or ClickHouse (`Inserter`) → checkpoint → unlink

Two batches and one spool are all that is ever held; each stage waits for the one behind it.
"""

import contextlib
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ingest.batch import DEFAULT_NAMESPACE, MAX_AGE_SECONDS, Batch, Labels
from ingest.checkpoints import Checkpoints
from ingest.counters import Counters
from ingest.deadletter import DeadLetters
from ingest.destination import NOTHING, Gateway
from ingest.sealer import Sealer
from ingest.several import Several
from ingest.shipper import Shipper
from ingest.sources.files import Files
from ingest.sources.journal import Journal, JournalSettings
from ingest.sources.stdin import Stdin
from ingest.spool import DEFAULT_QUOTA_BYTES, Spool, SpoolEntry
from ingest.state import Identity, StateFolder
from ingest.targets import FILE, Targets
from lexer import Redaction
from storage.access.carried import Carried
from storage.config import SCHEMES, ClickHouseConfig
from storage.native.block import Header

STOP_SECONDS = 3.0
"""How long a stopped agent goes on sending what it has; the rest waits in the spool for the next start."""
FIRST_CONTACT_SECONDS = 15.0
"""How long `once` waits for a destination that never answered."""
PATIENCE_SECONDS = 120.0
"""How long `once` waits for one that answered before: long enough for a restart."""
AGENT_KEEP_BYTES = 12 << 20
"""Of spooled blocks in memory too: the one or two that are sent next."""
_TICK = 0.25
_DELIVERING = ("clickhouse", "inserter", "gateway")
"""How subjects of troubles begin that keep blocks here."""


@dataclass(frozen=True)
class AgentSettings:
    """What an agent does. `sources` are paths, globs, folders, and `-`; `to` is an http or clickhouse URL; `shown` is
    what the gateway sees of who sends. `others`: gateways for what `to` does not take."""

    sources: tuple[str, ...]
    to: str
    state: Path
    namespace: str = DEFAULT_NAMESPACE
    labels: Labels = field(default_factory=lambda: Labels(host=socket.gethostname()))
    once: bool = False
    quota_bytes: int = DEFAULT_QUOTA_BYTES
    redaction: Redaction | None = None  # what is masked before anything is written
    journal: JournalSettings | None = None
    shown: Carried = NOTHING
    others: tuple[str, ...] = ()


class Feed(Protocol):
    """Where bytes come from; `read` moves what is there into a batch and returns the bytes moved."""

    @property
    def finished(self) -> bool: ...
    @property
    def behind(self) -> bool: ...
    def read(self, batch: Batch) -> int: ...
    def sleep(self, seconds: float) -> None: ...
    def close(self) -> None: ...


class Delivery(Protocol):
    """What empties the spool, in a thread of its own."""

    failure: BaseException | None
    blocked: str

    def start(self) -> None: ...
    def stop(self) -> None: ...


class Agent:
    """One run. `run` returns when everything is shipped (`once`), nothing more can come, or after `stop`."""

    def __init__(self, settings: AgentSettings) -> None:
        """Takes the state folder and recovers its spool. Raises StateInUse, StateDamaged, OSError."""
        self.settings = settings
        self.counters = Counters()
        self.unfinished = ""  # why something read is not shipped yet, at the end
        self._shipped, self._since = -1, 0.0  # blocks shipped, and since when no more
        self.elapsed = 0.0  # seconds that `run` took
        self._stop = threading.Event()
        with contextlib.ExitStack() as self._resources:
            self._state = self._resources.enter_context(StateFolder(settings.state))
            self._checkpoints = Checkpoints(self._state.checkpoints)
            self.spool = Spool(self._state.spool, settings.quota_bytes, AGENT_KEEP_BYTES)
            self._identity = self._recover()
            self._feeds = self._make_feeds()
            self._delivery = self._make_delivery()
            self._resources = self._resources.pop_all()

    def run(self) -> None:
        """Ship. Raises what a thread died of."""
        sealer = Sealer(
            self.spool,
            self.counters,
            agent_id=self._identity.agent_id,
            namespace=self.settings.namespace,
            first_sequence=max(self._checkpoints.sequence, self.spool.last_sequence) + 1,
            make_batch=lambda: Batch(self.settings.redaction),
        )
        started = time.monotonic()
        self._delivery.start()
        try:
            self._read(sealer)
            if not sealer.close(give_up=self._stop.is_set() or bool(self.unfinished)) and not self.unfinished:
                self.unfinished = (
                    "the spool has no room for what was read last; files are read again from there"
                )
            self._raise_failure(sealer.failure)
            self._drain()
        finally:
            self.elapsed = time.monotonic() - started
            self._delivery.stop()
            self.close()
        self._raise_failure(self._delivery.failure)

    def stop(self) -> None:
        """Make `run` return soon, with everything that was read in the spool.

        Not for a signal handler: it takes a lock.
        """
        self._stop.set()

    def close(self) -> None:
        """Let files and the state folder go."""
        for feed in self._feeds:
            feed.close()
        self._resources.close()

    # --- start ---

    def _recover(self) -> Identity:
        damaged = self.spool.recover(self._recovered)
        for one in damaged:
            again = "set aside, its lines are read again"
            if any(one.name.startswith(f"{number:016x}-") for number in self._checkpoints.waiting):
                again = "set aside, and its lines are not read again: what came after them has arrived"
            self.counters.trouble(f"spool file {one.name}", f"{one.reason}; {again}")
            self.counters.add("blocks_damaged")
        # The same number with other content: this folder, or what came back of it, was written by two agents.
        return self._state.renew() if self.spool.twins else self._state.identity()

    def _recovered(self, entry: SpoolEntry, header: Header) -> None:
        if self._checkpoints.has_arrived(header.sequence):
            self.spool.remove([entry])  # acknowledged before; its unlink did not survive
            return
        self._checkpoints.spooled(header.sources)
        self.counters.add("blocks_recovered")
        self.counters.add("lines_recovered", header.rows)

    def _make_feeds(self) -> list[Feed]:
        settings = self.settings
        paths = [source for source in settings.sources if source != "-"]
        feeds: list[Feed] = []
        if paths:
            feeds.append(
                Files(
                    paths,
                    self._checkpoints,
                    settings.labels,
                    self.counters,
                    once=settings.once,
                    stop=self._stop,
                )
            )
        if len(paths) < len(settings.sources):
            feeds.append(Stdin(settings.labels))
        if settings.journal is not None:
            feeds.append(
                Journal(
                    settings.journal, self._checkpoints, settings.labels, self.counters, once=settings.once
                )
            )
        return feeds

    def _make_delivery(self) -> Delivery:
        settings = self.settings
        dead_letters = DeadLetters(self._state.dead_letters)
        retire = self._checkpoints.acknowledge
        if settings.to.partition("://")[0] not in SCHEMES:
            urls = (settings.to, *settings.others)
            gateways = [Gateway(url, settings.shown, shared=len(urls) == 1) for url in urls]
            record = settings.state / FILE
            if len(gateways) > 1 or record.exists():
                targets = Targets(record, [one.url for one in gateways], self.spool)
                return Several(self.spool, gateways, targets, dead_letters, retire, self.counters)
            return Shipper(self.spool, gateways[0], dead_letters, retire, self.counters)
        # Imported here: the driver takes as much memory as the rest of the agent, and most agents need none.
        from ingest.inserter import Inserter
        from storage.hot import Hot

        hot = self._resources.enter_context(Hot(ClickHouseConfig.from_url(settings.to)))

        def prepare() -> None:
            hot.create_namespace(settings.namespace)
            hot.epochs.follow()

        return Inserter(
            self.spool,
            hot,
            settings.state,
            dead_letters,
            retire,
            self.counters,
            prepare=prepare,
            name=self._identity.agent_id,
        )

    # --- reading ---

    def _read(self, sealer: Sealer) -> None:
        """Fill batches until there is nothing more to come."""
        batch: Batch | None = None
        while not self._ended():
            batch = batch or sealer.empty(_TICK)
            if batch is None:
                self._raise_failure(sealer.failure)
                continue
            moved = sum(feed.read(batch) for feed in self._feeds)
            if batch.due():
                sealer.seal(batch)
                batch = None
            elif not moved and not self._all_finished():
                self._sleep(batch.time_left())
        if batch is not None and batch.rows:
            sealer.seal(batch)

    def _ended(self) -> bool:
        if self._stop.is_set() or self._delivery.failure is not None:
            return True
        if self._all_finished():
            return True
        self.unfinished = self._hopeless() if self.settings.once else ""
        return bool(self.unfinished)

    def _all_finished(self) -> bool:
        return all(feed.finished for feed in self._feeds)

    def _sleep(self, seconds: float) -> None:
        share = max(0.001, min(seconds, MAX_AGE_SECONDS) / len(self._feeds))
        for feed in self._feeds:
            if not feed.finished:
                feed.sleep(share)

    # --- ending ---

    def _drain(self) -> None:
        """Wait for the spool to be empty: as long as it takes with `once`, a moment when stopped."""
        deadline = time.monotonic() + STOP_SECONDS
        while len(self.spool) and self._delivery.failure is None and not self.unfinished:
            if self._stop.is_set() and time.monotonic() > deadline:
                self.unfinished = f"{len(self.spool)} blocks wait in {self._state.spool}"
                return
            self.unfinished = self._hopeless()
            self.spool.wait_room(_TICK)
            if not self._stop.is_set():
                deadline = time.monotonic() + STOP_SECONDS
        if len(self.spool) and not self.unfinished:
            self.unfinished = f"{len(self.spool)} blocks wait in {self._state.spool}"

    def _hopeless(self) -> str:
        """Why there is no point in waiting any longer; empty while there is."""
        if self._delivery.blocked:
            return self._delivery.blocked
        troubles = self.counters.troubles()
        stuck = next(
            (reason for subject, reason in troubles.items() if subject.partition(" ")[0] in _DELIVERING), ""
        )
        shipped, now = self.counters.get("blocks_shipped"), time.monotonic()
        # With nothing to send no gateway is waited for, though one of several may be away.
        if not stuck or shipped != self._shipped or not len(self.spool):
            self._shipped, self._since = shipped, now
            return ""
        patience = PATIENCE_SECONDS if shipped else FIRST_CONTACT_SECONDS
        return stuck if now - self._since > patience else ""

    def _raise_failure(self, failure: BaseException | None) -> None:
        if failure is not None:
            raise failure


def default_state(to: str, namespace: str) -> Path:
    """Where an agent keeps its state unless told: one folder a destination and namespace."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    place = to.partition("://")[2].rpartition("@")[2].partition("?")[0]
    name = "".join(one if one.isalnum() or one in "._-" else "_" for one in f"{place.strip('/')}_{namespace}")
    return Path(base) / "neve" / name
