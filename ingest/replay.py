"""Dead letters go back on their way, each exactly once.

At a gateway the ledger decides: it tells a block that was set aside from one that was taken, so a block goes back
into the spool only if no row of it can be stored, and leaves the dead letters only when the spool has it. An agent's
are sent to a gateway as if for the first time. Killed anywhere in between, the same command does the rest.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ingest.committer import Committer, Submission
from ingest.counters import Counters
from ingest.deadletter import DeadLetter, DeadLetters
from ingest.destination import Gateway, Verdict
from ingest.errors import SpoolFull
from ingest.ledger import Ledger
from ingest.spool import Spool
from ingest.state import StateFolder
from storage.errors import BlockDamaged, NeveError, QueryFailed
from storage.native.block import SealedBlock
from storage.shards import NOT_THERE, Shards

STORED, WAITING, SENT, REFUSED, KEPT = "stored", "waiting", "sent", "refused", "kept"
"""What can become of a dead letter: in ClickHouse; in the spool; taken by a gateway; refused again; left as it was."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one dead letter, and why, where it did not work."""

    letter: DeadLetter
    state: str
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.letter.block_id,
            "rows": self.letter.rows,
            "state": self.state,
            "reason": self.reason,
        }


class Replayer:
    """Puts a gateway's dead letters back into its spool. One call at a time."""

    def __init__(
        self,
        spool: Spool,
        ledger: Ledger,
        committer: Committer,
        dead_letters: DeadLetters,
        shards: Shards | None = None,
    ) -> None:
        """With `shards`, ClickHouse is asked too: the ledger's memory has an end."""
        self._spool = spool
        self._ledger = ledger
        self._committer = committer
        self._dead_letters = dead_letters
        self._shards = shards

    def replay(self, letters: Iterable[DeadLetter], seconds: float) -> list[Outcome]:
        """Put them back, and look for up to `seconds` what becomes of them. Raises NeveError, OSError."""
        began = [self._put_back(one) for one in letters]
        deadline = time.monotonic() + seconds
        while True:
            now = [self._look(one) for one in began]
            if time.monotonic() > deadline or all(one.state != WAITING for one in now):
                return now
            self._spool.wait_room(min(0.2, seconds))

    def _put_back(self, letter: DeadLetter) -> Outcome:
        try:
            data = letter.path.read_bytes()
            block_id = SealedBlock.parse(data).header.block_id
            if self._is_stored(letter, block_id):
                self._ledger.append([block_id])
            self._committer.submit(Submission(((block_id, data),), replay=True, shard=letter.shard)).result()
        except (BlockDamaged, SpoolFull) as error:
            return Outcome(letter, KEPT, error.message)
        self._dead_letters.remove(letter)
        return Outcome(letter, WAITING)

    def _is_stored(self, letter: DeadLetter, block_id: bytes) -> bool:
        """Has its shard every row of it? Raises BlockDamaged where it has some, or where there is no such shard."""
        if self._shards is None:
            return False
        shard = self._shards.numbered(letter.shard)
        if shard is None:
            raise BlockDamaged(f"cannot replay block: the configuration has no shard {letter.shard}")
        try:
            rows = shard.hot.rows_present(letter.namespace, [block_id])[block_id]
        except QueryFailed as error:
            if error.server_code in NOT_THERE:
                return False
            raise
        if 0 < rows < letter.rows:
            raise BlockDamaged(f"cannot replay block: {rows} of its {letter.rows} rows are stored")
        return rows == letter.rows

    def _look(self, one: Outcome) -> Outcome:
        block_id = bytes.fromhex(one.letter.block_id)
        if one.state != WAITING or block_id in self._spool:
            return one
        if self._ledger.is_done(block_id):
            return Outcome(one.letter, STORED)
        again = [letter for letter in self._dead_letters.all() if letter.block_id == one.letter.block_id]
        return Outcome(one.letter, REFUSED, again[0].reason) if again and block_id in self._ledger else one


def replay_offline(folder: StateFolder, ids: list[str], *, every: bool) -> list[Outcome]:
    """Put dead letters back into the spool of a gateway that does not run. Raises NeveError, OSError."""
    spool, counters = Spool(folder.spool), Counters()
    ledger = Ledger(folder.folder / "ledger" / "accepted")
    committer = Committer(spool, ledger, counters)
    committer.recover()
    committer.start()
    dead_letters = DeadLetters(folder.dead_letters)
    try:
        letters = dead_letters.choose(ids, every=every)
        return Replayer(spool, ledger, committer, dead_letters).replay(letters, 0.0)
    finally:
        committer.stop()
        ledger.close()


def send_again(
    dead_letters: DeadLetters, letters: Iterable[DeadLetter], gateway: Gateway
) -> Iterator[Outcome]:
    """Send an agent's dead letters to a gateway. Raises NeveError where it cannot be reached, OSError."""
    for letter in letters:
        data = letter.path.read_bytes()
        answer = gateway.send(data)
        if answer.verdict in (Verdict.LATER, Verdict.BLOCKED):
            raise NeveError(answer.reason, "the rest stays where it is; try again later")
        if answer.verdict is Verdict.REFUSED:
            yield Outcome(letter, REFUSED, answer.reason)
            continue
        dead_letters.remove(letter)
        yield Outcome(letter, SENT)
