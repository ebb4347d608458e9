"""What every receiver shares: records become sealed blocks, and are accepted as one.

A receiver reads its protocol and hands lines or records over; how they are lexed, sealed, kept and acknowledged is
here.
"""

import json
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from ingest.batch import Format, Labels, add_lines
from ingest.committer import REQUEST_AGENT, Submission, committed
from ingest.counters import REDACTED
from ingest.gateway import GatewayState
from lexer import MAX_KEY_BYTES, Carry, Columns, Redaction
from storage.native.block import Header, Source, parse_header, seal, with_sources

LEXERS = 2
"""Requests lexed at once: columns take memory, and there are few cores."""
LEXER_ROWS = 16384
LEXER_BYTES = 8 << 20
"""Of one block. Large requests become several, which the inserter puts together again."""
MAX_RECORD_TAGS = 1024
"""Of one record; those beyond are kept together, as JSON, in one tag."""
OVERFLOW_TAG = "overflow_tags"

Text = str | bytes
Tags = Sequence[tuple[Text, Text]]
Buffer = bytes | bytearray | memoryview


@dataclass(slots=True)
class Taken:
    """A request's records as sealed blocks, and what there is to say about them."""

    key: bytes
    blocks: list[tuple[bytes, bytes]] = field(default_factory=list)
    headers: list[Header] = field(default_factory=list)
    rows: int = 0
    counts: dict[str, int] = field(default_factory=dict)  # the lexer's: malformed_json, split_lines …
    errors: list[dict[str, Any]] = field(default_factory=list)


class Lexers:
    """A few columns, used again and again. A thread holds one at a time. `redaction` is masked in all of them."""

    def __init__(self, redaction: Redaction | None = None) -> None:
        self._redaction = redaction
        self._free: queue.SimpleQueue[Columns | None] = queue.SimpleQueue()
        for _ in range(LEXERS):
            self._free.put(None)

    @contextmanager
    def borrow(self) -> Iterator[Columns]:
        """Columns, empty. Those of a request that failed are dropped: their templates were told to nobody."""
        columns, used = self._free.get(), None
        try:
            if columns is None:
                columns = Columns(max_rows=LEXER_ROWS, max_bytes=LEXER_BYTES, redaction=self._redaction)
            yield columns
            columns.reset()
            used = columns
        finally:
            self._free.put(used)


class Intake:
    """Makes blocks of what one request brings, over borrowed columns. `key` is what makes a repetition of it the same.

    The number of blocks is in each, so that recovery knows a request's end.
    """

    def __init__(self, columns: Columns, namespace: str, key: bytes) -> None:
        self._columns = columns
        self._namespace = namespace
        self._parts: list[bytes] = []
        self._received_ns = time.time_ns()
        self._carry = Carry()
        self.taken = Taken(key)

    @property
    def received_ns(self) -> int:
        return self._received_ns

    def lines(self, data: Buffer, labels: Labels) -> None:
        """Take all lines of `data`; the last one needs no newline."""
        view = memoryview(data)
        while view:
            self._make_room()
            used = add_lines(self._columns, labels, view, self._carry, final=True)
            if not used and not self._columns.rows:
                raise RuntimeError(f"the lexer took nothing of {len(view)} bytes")
            view = view[used:]

    def record(
        self,
        text: Text,
        *,
        format: Format | str = "message",
        service: Text = b"",
        host: Text = b"",
        tags: Tags = (),
        timestamp_ns: int | None = None,
        level: str = "",
        trace_id: Text = b"",
        span_id: Text = b"",
        carry: Carry | None = None,
    ) -> None:
        """Take one record; see `Columns.add_one`. No tag is too many, and no name too long. `carry`: that of what it
        comes from, where this request's records come from several."""
        self._make_room()
        self._columns.add_one(
            text,
            format=format,
            service=service,
            host=host,
            tags=fitted(tags),
            received_ns=self._received_ns,
            timestamp_ns=timestamp_ns,
            level=level,
            trace_id=trace_id,
            span_id=span_id,
            carry=self._carry if carry is None else carry,
        )

    def decoded(self, add: Callable[[Columns, int], bool]) -> None:
        """Take records that a decoder of the lexer's own adds: `add(columns, received_ns)` fills them, and says
        whether there are more to come."""
        self._make_room()
        while add(self._columns, self._received_ns):
            self._make_room()

    def documents(self, data: Buffer, at: int, action: bytes, tags: Tags) -> tuple[int, bytes]:
        """Take documents of a bulk request; see `Columns.add_documents`. Stops only before another action line."""
        tags, verdicts = fitted(tags), b""
        while True:
            self._make_room()
            at, found = self._columns.add_documents(
                data, at, action, tags=tags, received_ns=self._received_ns
            )
            verdicts = verdicts + found if verdicts else found
            if not self._columns.full:
                return at, verdicts

    def entries(
        self, data: Buffer, at: int, end: int, *, service: Text, host: Text, level: str, tags: Tags
    ) -> int:
        """Take entries of a logproto stream; see `Columns.add_entries`. Returns `end`, or where one starts whose
        tags do not fit: for `record`."""
        tags = fitted(tags)
        while at < end:
            self._make_room()
            at, large = self._columns.add_entries(
                data,
                at,
                end,
                service=service,
                host=host,
                level=level,
                tags=tags,
                received_ns=self._received_ns,
            )
            if large:
                break
        return at

    def finish(self) -> Taken:
        """All of it, sealed. Nothing can be added any more."""
        self._seal(last=True)
        if self._parts and not self._columns.rows:
            # What came after the last full block was no record, as an empty line is none.
            self._parts[-1] = with_sources(self._parts[-1], [self._source(len(self._parts) - 1, last=True)])
        taken = self.taken
        taken.headers = [parse_header(data)[0] for data in self._parts]
        taken.blocks = [
            (header.block_id, data) for header, data in zip(taken.headers, self._parts, strict=True)
        ]
        return taken

    def _make_room(self) -> None:
        if self._columns.full:
            self._seal(last=False)
            self._columns.reset()

    def _seal(self, *, last: bool) -> None:
        columns, taken = self._columns, self.taken
        for name, count in columns.counts.items():
            taken.counts[name] = taken.counts.get(name, 0) + count
        if not columns.rows:
            return
        taken.rows += columns.rows
        place = len(self._parts)
        part = self._source(place, last=last)
        agent_id = REQUEST_AGENT + taken.key.hex()
        self._parts.append(
            seal(columns, agent_id=agent_id, sequence=place, namespace=self._namespace, sources=[part])
        )

    def _source(self, place: int, *, last: bool) -> Source:
        return Source(0, 0, self.taken.key.hex(), "request", place, place + 1 if last else 0)


async def accept(gateway: GatewayState, taken: Taken, receiver: str) -> bool:
    """Wait until all of it is durable. False where the same was accepted before: it is stored once.

    `receiver` names the protocol in the counters. Raises SpoolFull, OSError: nothing of it was kept.
    """
    fresh = True
    if taken.blocks:
        size = sum(header.raw_bytes for header in taken.headers)
        gateway.admit(taken.headers[0].namespace, taken.rows, size)
        submission = Submission(tuple(taken.blocks), taken.key, headers=tuple(taken.headers))
        fresh = await committed(gateway.committer, submission)
    gateway.counters.add("requests_received")
    gateway.counters.add(f"requests_{receiver}")
    if fresh:
        gateway.counters.add("lines_received", taken.rows)
        gateway.counters.add(f"lines_{receiver}", taken.rows)
        gateway.counters.add_all(
            {name: count for name, count in taken.counts.items() if name.startswith(REDACTED)}
        )
    else:
        gateway.counters.add("requests_duplicate")
    return fresh


def request_key(chosen: str | None, body: bytes | bytearray, *said: str) -> bytes:
    """What makes a repetition of a request the same request: what it `said` beside its body, and the
    `Idempotency-Key` that its sender has `chosen`, or else the body."""
    digest = blake2b(digest_size=16)
    for part in ("key" if chosen else "body", *said):
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    digest.update(chosen.encode("utf-8", "surrogateescape") if chosen else body)
    return digest.digest()


def _too_long(name: Text) -> bool:
    # A character takes at most four bytes.
    return len(name) > MAX_KEY_BYTES // 4 and len(_bytes(name)) > MAX_KEY_BYTES


def fitted(tags: Tags) -> Tags:
    """The tags, or where they are too many, or have names too long, those that fit and the rest as one more; of
    those, what is no UTF-8 is read as U+FFFD."""
    if len(tags) <= MAX_RECORD_TAGS:
        for name, _ in tags:
            if _too_long(name):
                break
        else:
            return tags
    fit: list[tuple[Text, Text]] = []
    rest: dict[str, str] = {}
    for name, value in tags:
        if len(fit) < MAX_RECORD_TAGS - 1 and not _too_long(name):
            fit.append((name, value))
        else:
            rest.setdefault(_bytes(name).decode(errors="replace"), _bytes(value).decode(errors="replace"))
    fit.append((OVERFLOW_TAG, json.dumps(rest, ensure_ascii=False)))
    return fit


def _bytes(text: Text) -> bytes:
    return text.encode("utf-8", "replace") if isinstance(text, str) else text
