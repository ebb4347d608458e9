"""Batches become sealed blocks in the spool, off the reading thread: LZ4 and fsync release the lock."""

import queue
import threading
from collections.abc import Callable

from ingest.batch import Batch
from ingest.counters import Counters
from ingest.errors import SpoolFull
from ingest.spool import Spool
from storage.native.block import parse_header, seal

BATCHES = 2
"""One is filled while the other is sealed; a third would cost memory and hide nothing more."""
RETRY_SECONDS = 0.5


class Sealer:
    """Owns the batches: `empty` gives one to fill, `seal` takes it back. A full spool holds `empty` up."""

    def __init__(
        self,
        spool: Spool,
        counters: Counters,
        *,
        agent_id: str,
        namespace: str,
        first_sequence: int,
        make_batch: Callable[[], Batch] = Batch,
    ) -> None:
        self._spool = spool
        self._counters = counters
        self._agent_id = agent_id
        self._namespace = namespace
        self._sequence = first_sequence
        self._empty: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        self._filled: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._giving_up = threading.Event()
        self.failure: BaseException | None = None
        for _ in range(BATCHES):
            self._empty.put(make_batch())
        self._thread = threading.Thread(target=self._run, name="sealer", daemon=True)
        self._thread.start()

    def empty(self, timeout: float) -> Batch | None:
        """An empty batch, or None where none came back within `timeout` seconds."""
        try:
            return self._empty.get(timeout=timeout)
        except queue.Empty:
            return None

    def seal(self, batch: Batch) -> None:
        """Take a batch with rows in it; it comes back by `empty` once its block is durable."""
        self._filled.put(batch)

    def close(self, *, give_up: bool = False) -> bool:
        """Wait until all is in the spool; with `give_up`, not for room in it.

        Tell whether nothing was left over.
        """
        if give_up:
            self._giving_up.set()
            self._spool.wake()
        self._filled.put(None)
        self._thread.join()
        return self.failure is None and self._filled.empty()

    def _run(self) -> None:
        try:
            while (batch := self._filled.get()) is not None:
                if not self._keep(self._seal(batch)):
                    self._filled.put(batch)
                    return
                self._sequence += 1
                batch.reset()
                self._empty.put(batch)
        except BaseException as error:
            self.failure = error
            raise

    def _seal(self, batch: Batch) -> bytes:
        return seal(
            batch.columns,
            agent_id=self._agent_id,
            sequence=self._sequence,
            namespace=self._namespace,
            sources=batch.sources,
        )

    def _keep(self, data: bytes) -> bool:
        """Put the block into the spool however long it takes; False where it has no room and nobody waits for any."""
        header, _ = parse_header(data)
        while True:
            try:
                self._spool.put([(self._sequence, header.block_id, data)])
            except SpoolFull as full:
                self._counters.trouble("spool", full.message)
            except OSError as error:
                self._counters.trouble("spool", f"cannot write: {(error.strerror or str(error)).lower()}")
            else:
                self._counters.well("spool")
                self._counters.add("blocks")
                self._counters.add("lines", header.rows)
                self._counters.add("bytes", header.raw_bytes)
                self._counters.add_all(header.counts)
                return True
            if self._giving_up.is_set():
                return False
            self._spool.wait_room(RETRY_SECONDS)
