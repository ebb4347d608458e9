"""Sends spooled blocks to one of several gateways, and to the next where that one does not take them.

The first of the list that is well gets what was never sent, in order. A block of which nobody knows whether a gateway
has it stays that one's, which is asked again and again, while what comes after it goes on to the next
(`targets.py`). A gateway that was in trouble is looked at now and then, and gets blocks again when it answers.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence

from ingest.backoff import Backoff
from ingest.counters import Counters
from ingest.deadletter import DeadLetters
from ingest.destination import Answer, Gateway, Verdict
from ingest.spool import Spool, SpoolEntry
from ingest.targets import Targets
from storage.errors import BlockDamaged
from storage.native.block import Header, SealedBlock

LOOK_SECONDS = 5.0
"""Between two looks at a gateway that was in trouble and has nothing to do."""

Retire = Callable[[Sequence[Header], Collection[int]], None]
"""Records durably that blocks are done with, while those of the sequences given wait before them."""


class _Lane:
    """One gateway, and how it is."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.url = gateway.url
        self.subject = f"gateway {gateway.url}"
        self.backoff = Backoff()
        self.flying = b""  # the block that is being sent there
        self.trouble = ""
        self.blocked = False
        self.looked = float("-inf")


class Several:
    """A thread for each gateway, which empty the spool together."""

    def __init__(
        self,
        spool: Spool,
        gateways: Sequence[Gateway],
        targets: Targets,
        dead_letters: DeadLetters,
        retire: Retire,
        counters: Counters,
    ) -> None:
        self._spool = spool
        self._targets = targets
        self._dead_letters = dead_letters
        self._retire = retire
        self._counters = counters
        self._lanes = [_Lane(gateway) for gateway in gateways]
        self._lock = threading.Lock()  # of lanes and targets; taken inside the spool's own, never around it
        self._ending = threading.Lock()  # one block ends at a time
        self._stop = threading.Event()
        self.failure: BaseException | None = None
        self.blocked = ""  # why nothing gets through until somebody acts
        self._threads = [
            threading.Thread(target=self._run, args=(lane,), name=f"shipper {lane.url}", daemon=True)
            for lane in self._lanes
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the blocks at hand, at the latest when their answers time out."""
        self._stop.set()
        self._spool.wake()
        for thread in self._threads:
            thread.join()
        for lane in self._lanes:
            lane.gateway.close()
            if not len(self._spool):
                self._counters.well(lane.subject)  # another took everything

    def _run(self, lane: _Lane) -> None:
        try:
            while not self._stop.is_set():
                self._spool.wait_for(lambda: self._stop.is_set() or self._claim(lane) is not None, 1.0)
                entry = self._spool.entry(lane.flying) if lane.flying else None
                if self._stop.is_set():
                    return
                if entry is not None:
                    self._ship(lane, entry)
                elif lane.trouble:
                    self._look(lane)
        except BaseException as error:
            self.failure = error
            raise

    # --- whose block is it? ------------------------------------------------------------------------------

    def _claim(self, lane: _Lane) -> SpoolEntry | None:
        """The next block for a gateway, if there is one. Called with the spool's lock."""
        with self._lock:
            entry = self._next(lane)
            lane.flying = entry.block_id if entry is not None else b""
            return entry

    def _next(self, lane: _Lane) -> SpoolEntry | None:
        if (mine := self._targets.bound.get(lane.url)) is not None:
            return self._spool.entry(mine)
        if self._targets.current != lane.url:
            return None
        taken = {one.flying for one in self._lanes if one is not lane} | set(self._targets.bound.values())
        waiting = self._spool.pending(2 * len(self._lanes) + 1)
        return next((one for one in waiting if one.block_id not in taken), None)

    def _ill(self, lane: _Lane, answer: Answer) -> None:
        """A gateway did not take a block. If it may have it all the same the block stays its own."""
        with self._lock:
            if answer.sent:
                self._targets.bound[lane.url] = lane.flying
            lane.flying = b""
            lane.trouble, lane.looked = answer.reason, time.monotonic()
            lane.blocked = answer.verdict is Verdict.BLOCKED
            self.blocked = answer.reason if all(one.blocked for one in self._lanes) else ""
            place = self._lanes.index(lane)
            others = self._lanes[place + 1 :] + self._lanes[:place]
            well = [one for one in self._lanes if not one.trouble]
            if others and self._targets.current == lane.url:
                self._switch((well or others)[0])
        self._spool.wake()

    def _well(self, lane: _Lane) -> None:
        """A gateway answers: what was never sent is its own if it stands before the present one."""
        with self._lock:
            lane.trouble, lane.blocked, self.blocked = "", False, ""
            lane.backoff.reset()
            urls = self._targets.gateways
            if urls.index(lane.url) < urls.index(self._targets.current):
                self._switch(lane)
        self._counters.well(lane.subject)
        self._spool.wake()

    def _switch(self, to: _Lane) -> None:
        """What is under way elsewhere is bound to where it is, before anything of it can be sent twice."""
        for lane in self._lanes:
            if lane.flying:
                self._targets.bound.setdefault(lane.url, lane.flying)
        self._targets.switch(to.url)
        self._counters.add("gateways_switched")

    # --- one block ---------------------------------------------------------------------------------------

    def _ship(self, lane: _Lane, entry: SpoolEntry) -> None:
        try:
            data, block = self._spool.load(entry)
        except BlockDamaged as error:
            self._set_aside(lane, entry, error.message, "blocks_damaged", None)
            return
        answer = lane.gateway.send(data)
        if answer.verdict in (Verdict.LATER, Verdict.BLOCKED):
            self._counters.trouble(lane.subject, answer.reason)
            self._counters.add("retries")
            self._ill(lane, answer)
            self._stop.wait(lane.backoff.next(answer.retry_after))
        elif answer.verdict is Verdict.REFUSED:
            self._set_aside(lane, entry, answer.reason, "blocks_refused", block)
            self._well(lane)
        else:
            self._end(lane, entry, block.header)
            self._counters.add("blocks_shipped")
            self._counters.add("lines_shipped", block.header.rows)
            if lane.trouble:
                self._well(lane)

    def _end(self, lane: _Lane, entry: SpoolEntry, header: Header) -> None:
        """A block is done with: durably, then it leaves the spool, then nobody has it any more."""
        with self._ending:
            before = [one.sequence for one in self._spool.pending(2 * len(self._lanes) + 1)]
            self._retire([header], [one for one in before if one != header.sequence])
            self._spool.remove([entry])
            self._let_go(lane)

    def _let_go(self, lane: _Lane) -> None:
        with self._lock:
            lane.flying = b""
            self._targets.bound.pop(lane.url, None)

    def _set_aside(
        self, lane: _Lane, entry: SpoolEntry, reason: str, name: str, block: SealedBlock | None
    ) -> None:
        with self._ending:
            self._dead_letters.take(self._spool, entry, reason)
            if block is not None:
                before = [one.sequence for one in self._spool.pending(2 * len(self._lanes) + 1)]
                self._retire([block.header], before)
            self._let_go(lane)
        self._counters.add(name)
        self._counters.add("lines_refused", block.header.rows if block is not None else 0)
        self._counters.trouble(
            f"block {entry.block_id.hex()}", f"{reason}; kept in {self._dead_letters.folder}"
        )

    def _look(self, lane: _Lane) -> None:
        """Is a gateway well again that has nothing to do?"""
        if time.monotonic() < lane.looked + LOOK_SECONDS:
            return
        lane.looked = time.monotonic()
        if lane.gateway.answers():
            self._well(lane)
