"""The gateway's state: spool, ledger, committer and inserter over one data folder."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ingest.batch import DEFAULT_NAMESPACE
from ingest.committer import Committer
from ingest.counters import Counters
from ingest.deadletter import DeadLetters
from ingest.inserter import Inserter
from ingest.ledger import Ledger
from ingest.namespaces import Namespaces
from ingest.spool import DEFAULT_QUOTA_BYTES, KEEP_BYTES, Spool
from ingest.state import StateFolder
from storage.config import ClickHouseConfig
from storage.hot import Hot


@dataclass(frozen=True)
class GatewaySettings:
    """`data_dir` holds spool, ledger and dead letters. The `namespaces` are made at the start; with
    `create_namespaces` any other is made when somebody first sends to it."""

    data_dir: Path
    clickhouse: ClickHouseConfig
    namespaces: tuple[str, ...] = (DEFAULT_NAMESPACE,)
    create_namespaces: bool = True
    spool_quota_bytes: int = DEFAULT_QUOTA_BYTES


class GatewayState:
    """Everything behind the gateway's routes. `start` recovers and starts the threads, `stop` ends them."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Takes the data folder. Raises StateInUse where another process holds it, OSError."""
        self.settings = settings
        self.counters = Counters()
        self._folder = StateFolder(settings.data_dir)
        self.hot = Hot(settings.clickhouse)
        self.namespaces = Namespaces(
            self.hot, settings.data_dir / "namespaces.json", create=settings.create_namespaces
        )
        self.spool = Spool(self._folder.spool, settings.spool_quota_bytes, KEEP_BYTES)
        self.ledger = Ledger(settings.data_dir / "ledger" / "accepted")
        self.dead_letters = DeadLetters(self._folder.dead_letters)
        self.committer = Committer(self.spool, self.ledger, self.counters)
        self.inserter = Inserter(
            self.spool,
            self.hot,
            settings.data_dir,
            self.dead_letters,
            self.committer.retire,
            self.counters,
            prepare=self._prepare,
            name=self._folder.identity().agent_id,
            kind="gateway",
        )

    def start(self) -> None:
        """Recover, then begin to take and to insert. Raises OSError, StateDamaged."""
        self.committer.recover()
        self.committer.start()
        self.inserter.start()

    def stop(self) -> None:
        """Everything acknowledged is on disk by now; what is not inserted waits for the next start."""
        self.committer.stop()
        self.inserter.stop()
        self.ledger.close()
        self.hot.close()
        self._folder.close()

    def status(self) -> dict[str, Any]:
        """Depth, age, reasons and counters, for `GET /gateway/status`."""
        troubles = self.counters.troubles()
        return {
            "spool": asdict(self.spool.stats()),
            "ledger": {"ids": len(self.ledger), "damaged_records": self.ledger.damaged_records},
            "dead_letters": len(self.dead_letters),
            "inserting": self.inserter.failure is None and "clickhouse" not in troubles,
            "troubles": troubles,
            "counters": self.counters.all(),
        }

    def _prepare(self) -> None:
        for namespace in self.settings.namespaces:
            self.namespaces.ensure(namespace)
