"""Sends spooled blocks to a gateway, in order, one at a time, until each is answered for.

A block that the gateway took is checkpointed, then unlinked; one that it refuses for what it is goes to the
dead letters with the reason; anything else is tried again for as long as it takes.
"""

import threading
from collections.abc import Callable, Sequence

from ingest.backoff import Backoff
from ingest.counters import Counters
from ingest.deadletter import DeadLetters
from ingest.destination import Answer, Gateway, Verdict
from ingest.spool import Spool, SpoolEntry
from storage.errors import BlockDamaged
from storage.native.block import Header

Retire = Callable[[Sequence[Header]], None]
"""Records durably that blocks are done with; called before they leave the spool."""


class Shipper:
    """The thread that empties the spool towards a gateway."""

    def __init__(
        self, spool: Spool, gateway: Gateway, dead_letters: DeadLetters, retire: Retire, counters: Counters
    ) -> None:
        self._spool = spool
        self._gateway = gateway
        self._dead_letters = dead_letters
        self._retire = retire
        self._counters = counters
        self._backoff = Backoff()
        self._stop = threading.Event()
        self.failure: BaseException | None = None
        self.blocked = ""
        self._unsure = b""  # a block that may have been sent
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the block at hand, at the latest when its answer times out."""
        self._stop.set()
        self._spool.wake()
        self._thread.join()
        self._gateway.close()

    def _run(self) -> None:
        try:
            for entry in self._spool.pending(1):  # an earlier run may have sent it
                self._unsure = entry.block_id
            while not self._stop.is_set():
                if self._spool.wait(1.0, self._stop.is_set) and not self._stop.is_set():
                    self._ship(self._spool.pending(1)[0])
        except BaseException as error:
            self.failure = error
            raise

    def _ship(self, entry: SpoolEntry) -> None:
        try:
            data, block = self._spool.load(entry)
        except BlockDamaged as error:
            self._set_aside(entry, error.message, "blocks_damaged")
            return
        header = block.header
        answer = self._gateway.send(data, again=self._unsure == entry.block_id)
        if answer.sent:
            self._unsure = entry.block_id
        if answer.verdict in (Verdict.LATER, Verdict.BLOCKED):
            self._wait(answer)
            return
        self._backoff.reset()
        self.blocked = ""
        self._counters.well("gateway")
        if answer.verdict is Verdict.REFUSED:
            self._set_aside(entry, answer.reason, "blocks_refused", header.rows)
            self._retire([header])
            return
        self._retire([header])
        self._spool.remove([entry])
        self._counters.add("blocks_shipped")
        self._counters.add("lines_shipped", header.rows)

    def _set_aside(self, entry: SpoolEntry, reason: str, name: str, rows: int = 0) -> None:
        self._dead_letters.take(self._spool, entry, reason)
        self._counters.add(name)
        self._counters.add("lines_refused", rows)
        self._counters.trouble(
            f"block {entry.block_id.hex()}", f"{reason}; kept in {self._dead_letters.folder}"
        )

    def _wait(self, answer: Answer) -> None:
        self.blocked = answer.reason if answer.verdict is Verdict.BLOCKED else ""
        self._counters.trouble("gateway", answer.reason)
        self._counters.add("retries")
        self._stop.wait(self._backoff.next(answer.retry_after))
