"""systemd's journal, by `journalctl`: each entry once, over restarts, by the cursor of the last one that is safe."""

import os
import select
import subprocess
import tempfile
import time
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO

from ingest.batch import Batch, Labels
from ingest.checkpoints import Checkpoints
from ingest.counters import Counters
from ingest.errors import IngestError
from ingest.identity import Mark
from ingest.journal import Export, ExportDamaged, Fields, cursor_of, record_of
from lexer import Carry
from storage.native.block import Source

JOURNAL_DEVICE = 0x6A6F75726E616C
"""Where a file has its device; no device has this number."""
READ_BYTES = 256 << 10
AGAIN_SECONDS = 1.0
"""Until a journalctl that ended is started again."""
PREFIX = "journal "
_NO_FILE = Mark(0, 0, 0, b"no file here", b"no file here")
SUBJECT = "journal"


@dataclass(frozen=True)
class JournalSettings:
    """Which journal: of `units` alone, if there are any, in `directory`, if it is not this machine's."""

    units: tuple[str, ...] = ()
    directory: Path | None = None

    @property
    def inode(self) -> int:
        """Stands for this choice among the checkpoints: another choice is read from its own beginning."""
        text = "\0".join([str(self.directory or ""), *sorted(self.units)])
        return int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "big") | 1

    def command(self, cursor: str, *, once: bool) -> list[str]:
        """What writes all entries after `cursor`; without one all there are."""
        words = ["journalctl", "--output=export", "--no-pager", "--quiet", "--all"]
        words += ["--directory", str(self.directory)] if self.directory else []
        words += [f"--unit={unit}" for unit in self.units]
        words += [f"--after-cursor={cursor}"] if cursor else []
        return words if once else [*words, "--follow", "--no-tail"]


class Journal:
    """Reads entries; a range is of their numbers, and its path has the cursor of its last. Used by one thread."""

    def __init__(
        self,
        settings: JournalSettings,
        checkpoints: Checkpoints,
        labels: Labels,
        counters: Counters,
        *,
        once: bool,
    ) -> None:
        self.labels = labels
        self.carry = Carry()  # an entry is whole: nothing of it is carried over
        self.finished = False
        self.behind = False
        self._settings, self._counters, self._once = settings, counters, once
        path, self._position, self._ahead = checkpoints.place(JOURNAL_DEVICE, settings.inode)
        self._cursor = path.removeprefix(PREFIX)
        self._tags = [(key.encode(), value.encode()) for key, value in labels.tags.items()]
        self._waiting: list[Fields] = []  # entries that found no room yet, the next one last
        self._process: subprocess.Popen[bytes] | None = None
        self._export = Export()
        self._errors: IO[bytes] | None = None
        self._ended = False
        self._not_before = 0.0

    def source(self, start: int, end: int) -> Source:
        """The name of the entries [start, end)."""
        return Source(
            JOURNAL_DEVICE, self._settings.inode, _NO_FILE.encode(), PREFIX + self._cursor, start, end
        )

    def read(self, batch: Batch) -> int:
        """Move what is there into `batch`; return the entries moved. Raises IngestError."""
        begun = self._position
        while not batch.full and not self.finished:
            if not self._waiting and not self._fill():
                break
            while self._waiting and not batch.full:
                self._put(batch, self._waiting.pop())
        if self._position > begun:
            self._counters.well(SUBJECT)
            batch.opened()
            batch.cover(self, begun, self._position)
        self.finished = self._ended and not self._waiting
        self.behind = batch.full and not self.finished
        return self._position - begun

    def sleep(self, seconds: float) -> None:
        """Wait until something comes, at most `seconds`."""
        if self._process is None:
            time.sleep(min(seconds, AGAIN_SECONDS))
        else:
            self._readable(seconds)

    def close(self) -> None:
        """Read no more."""
        if self._process is not None:
            self._process.kill()
            self._end_of_process()

    def _put(self, batch: Batch, entry: Fields) -> None:
        self._cursor = cursor_of(entry).decode("ascii", "replace") or self._cursor
        number, self._position = self._position, self._position + 1
        if any(start <= number < end for start, end in self._ahead):
            return
        one = record_of(entry)
        names = {name for name, _ in one.tags}
        batch.columns.add_one(
            one.text,
            format=one.format,
            level=one.level,
            service=one.service or self.labels.service,
            host=one.host or self.labels.host,
            tags=[*one.tags, *(pair for pair in self._tags if pair[0] not in names)],
            received_ns=time.time_ns(),
            timestamp_ns=one.timestamp_ns,
        )

    def _fill(self) -> bool:
        """Read what is there; False where nothing was."""
        if self._process is None and not self._start():
            return False
        if not self._readable(0.0):
            return False
        assert self._process is not None
        assert self._process.stdout is not None
        data = os.read(self._process.stdout.fileno(), READ_BYTES)
        cut = self._export.cut
        try:
            entries = list(self._export.feed(data)) if data else self._last()
        except ExportDamaged as error:
            raise IngestError(
                f"cannot read journal: {error}", "see what journalctl --output=export says"
            ) from None
        if self._export.cut > cut:
            self._counters.add("journal_fields_cut", self._export.cut - cut)
        self._waiting = entries[::-1]
        if not data:
            self._over()
        return True

    def _last(self) -> list[Fields]:
        """What is left when journalctl has ended; one that was killed may break off, and is read again."""
        try:
            last = self._export.end()
        except ExportDamaged:
            return []
        return [last] if last and (self._once or cursor_of(last)) else []

    def _start(self) -> bool:
        if time.monotonic() < self._not_before:
            return False
        command = self._settings.command(self._cursor, once=self._once)
        try:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process; a pipe might fill
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._errors)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise IngestError(
                f"cannot run journalctl: {reason}", "install systemd, or leave out --journal"
            ) from None
        self._export = Export()
        return True

    def _over(self) -> None:
        """journalctl has ended: with `once` that is the end, if it succeeded; else it is started again."""
        assert self._process is not None
        code, said = self._end_of_process()
        if code and self._once:
            raise IngestError(
                f"cannot read journal: {said or f'journalctl ended with {code}'}", "try journalctl"
            )
        self._not_before = time.monotonic() + AGAIN_SECONDS
        self._ended = self._once
        if not self._once:
            why = f": {said}" if said else ""
            self._counters.trouble(SUBJECT, f"journalctl ended with {code}{why}; it is started again")

    def _end_of_process(self) -> tuple[int, str]:
        """Its exit code, and the last line that it said about errors."""
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._errors is not None
        self._process.stdout.close()
        code, self._process = self._process.wait(), None
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        self._errors.close()
        return code, lines[-1] if lines else ""

    def _readable(self, seconds: float) -> bool:
        assert self._process is not None
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], seconds)[0])
