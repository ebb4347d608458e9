"""The sealed block: columns encoded once, kept on disk and sent over the wire as they stand.

    8   magic `NEVEBLK` and a zero byte
    2   format version
    4   length of the header
    …   header, JSON in ASCII
    4   CRC-32 of the header
    8   length of the body
    16  CityHash128 of the checksums of the body's frames (in format 1 of the body)
    …   body: the columns in ClickHouse's native layout, as LZ4 frames, each with its own checksum

Integers are little-endian. The body names no row count and no `epoch`: whoever inserts puts both around it
and encodes nothing again. The block id is a hash over who made the block, of what, and what is in it; so a
retry has the same id, and two agents that share a copied state cannot be taken for one another.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import sys
import time
import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

from storage import schema
from storage.errors import BlockDamaged
from storage.native import frames
from storage.native.frames import Buffer, Frame

MAGIC = b"NEVEBLK\0"
FORMAT_VERSION = 2
FORMATS = (1, 2)  # that are read
PACKED_ROWS = 1024  # from here on offsets are worth frames of their own
MAX_HEADER_BYTES = 64 << 20
COLUMN_NAME = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
ID_BYTES = 16
MAX_ROWS = 1 << 20  # far beyond what an agent or a gateway puts into one
MAX_COLUMNS = 256
UINT64, INT64 = (1 << 64) - 1, 1 << 63
REDACTION_VERSION = 1  # of what the names in a header's `redaction` mean; 0 where there are none

START = struct.Struct("<8sHI")  # magic, format version, length of the header
HEADER_CRC = struct.Struct("<I")
BODY_START = struct.Struct("<Q16s")  # length, checksum


class ColumnSet(Protocol):
    """What `seal` needs to know of filled columns; `lexer.Columns` is one."""

    @property
    def column_types(self) -> list[tuple[str, str]]: ...
    @property
    def rows(self) -> int: ...
    @property
    def raw_bytes(self) -> int: ...
    @property
    def min_timestamp(self) -> int: ...
    @property
    def max_timestamp(self) -> int: ...
    @property
    def counts(self) -> Mapping[str, int]: ...

    def chunks(self, min_packed: int | None = None) -> Sequence[Any]: ...
    def templates(self) -> Sequence[tuple[int, bytes]]: ...


@dataclass(frozen=True)
class Source:
    """A range of bytes of one file that is in a block."""

    device: int
    inode: int
    head: str  # hash of the file's first bytes, hex
    path: str
    start: int  # first byte
    end: int  # one past the last byte


@dataclass(frozen=True)
class Header:
    """What is known of a block without reading its body. Times are nanoseconds since 1970."""

    block_id: bytes  # 16
    agent_id: str
    sequence: int
    namespace: str
    schema_version: int
    rules_version: int
    redaction_version: int
    rows: int
    raw_bytes: int
    min_timestamp: int
    max_timestamp: int
    columns: tuple[tuple[str, str], ...]
    sources: tuple[Source, ...]
    templates: tuple[tuple[int, str], ...]
    counts: Mapping[str, int]
    created_ns: int
    redaction: tuple[str, ...] = ()  # what was masked in it: classes, and `key:NAME`
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class SealedBlock:
    """A sealed block in memory. `frames` looks into the bytes that it was parsed from."""

    header: Header
    frames: memoryview
    decoded_bytes: int  # of the columns, once unpacked

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the block's columns, in order."""
        return tuple(name for name, _ in self.header.columns)

    @classmethod
    def parse(cls, data: Buffer) -> SealedBlock:
        """A block from its bytes; BlockDamaged when a single bit of them is not as it was sealed."""
        block, expected = cls._open(data)
        # A frame with a wrong checksum of its own keeps ClickHouse busy for seconds, looking for the one bit
        # that may have flipped; so none may get there.
        checksums = frames.verify(block.frames)
        if frames.checksum(block.frames if block.header.format_version == 1 else checksums) != expected:
            raise BlockDamaged("cannot read block: checksum of the body differs")
        return block

    @classmethod
    def trust(cls, data: Buffer) -> SealedBlock:
        """The same without a look at the body, for bytes that never left memory since they were sealed or parsed."""
        return cls._open(data)[0]

    @classmethod
    def _open(cls, data: Buffer) -> tuple[SealedBlock, bytes]:
        """The block, its body not looked into but for where frames start, and the body's checksum."""
        view = memoryview(data)
        header, position = parse_header(view)
        length, expected = _unpack(BODY_START, view, position)
        body = view[position + BODY_START.size :]
        if len(body) != length:
            raise BlockDamaged(f"cannot read block: body of {len(body)} bytes instead of {length}")
        return cls(header, body, frames.data_bytes(body)), expected


def seal(
    columns: ColumnSet,
    *,
    agent_id: str,
    sequence: int,
    namespace: str,
    sources: Iterable[Source] = (),
    rules_version: int | None = None,
) -> bytes:
    """The bytes of a sealed block of these columns, which may be reset as soon as this returns.

    It adds the columns `block_id` and `row`. Cost: one pass each of LZ4 and CityHash. Without `rules_version`,
    that of the lexer that is installed.
    """
    sources = tuple(sources)
    redaction: tuple[str, ...] = getattr(columns, "redacts", ())
    content = list(frames.compress(columns.chunks(PACKED_ROWS)))
    block_id = _block_id(content, agent_id, sequence, namespace, sources)
    body = [*content, *_id_frames(block_id, columns.rows)]
    header = Header(
        block_id=block_id,
        agent_id=agent_id,
        sequence=sequence,
        namespace=namespace,
        schema_version=schema.SCHEMA_VERSION,
        rules_version=_rules_version() if rules_version is None else rules_version,
        redaction_version=REDACTION_VERSION if redaction else 0,
        rows=columns.rows,
        raw_bytes=columns.raw_bytes,
        min_timestamp=columns.min_timestamp,
        max_timestamp=columns.max_timestamp,
        columns=(*columns.column_types, *schema.BLOCK_COLUMNS),
        sources=sources,
        templates=tuple((number, _text(template)) for number, template in columns.templates()),
        counts=dict(columns.counts),
        created_ns=time.time_ns(),
        redaction=redaction,
    )
    return pack(header, body)


def pack(header: Header, body: Sequence[Frame]) -> bytes:
    """The bytes of a block of this header and these frames."""
    text = _encode_header(header)
    parts = [part for frame in body for part in frame]
    checksums = b"".join(frame.checksum for frame in body)
    return b"".join(
        (
            START.pack(MAGIC, header.format_version, len(text)),
            text,
            HEADER_CRC.pack(zlib.crc32(text)),
            BODY_START.pack(sum(map(len, parts)), frames.checksum(checksums)),
            *parts,
        )
    )


def with_sources(data: bytes, sources: Iterable[Source]) -> bytes:
    """The same block, its id included, made of other sources: for what is known only after it was sealed."""
    header, end = parse_header(data)
    text = _encode_header(replace(header, sources=tuple(sources)))
    start = START.pack(MAGIC, header.format_version, len(text))
    return b"".join((start, text, HEADER_CRC.pack(zlib.crc32(text)), memoryview(data)[end:]))


def parse_header(data: Buffer) -> tuple[Header, int]:
    """The header, checked, and where what follows it starts; the first bytes of a block are enough."""
    view = memoryview(data)
    magic, version, length = _unpack(START, view, 0)
    if magic != MAGIC:
        raise BlockDamaged("cannot read block: it does not start as one")
    if version not in FORMATS:
        raise BlockDamaged(f"cannot read block: format version {version}", "upgrade this program")
    end = START.size + length
    if length > MAX_HEADER_BYTES or end > len(view):
        raise BlockDamaged("cannot read block: header cut short")
    text = view[START.size : end]
    (crc,) = _unpack(HEADER_CRC, view, end)
    if zlib.crc32(text) != crc:
        raise BlockDamaged("cannot read block: checksum of the header differs")
    return _decode_header(bytes(text), version), end + HEADER_CRC.size


def _unpack(form: struct.Struct, view: memoryview, position: int) -> tuple[Any, ...]:
    if position + form.size > len(view):
        raise BlockDamaged("cannot read block: cut short")
    return form.unpack_from(view, position)


def _rules_version() -> int:
    """The lexer's; imported late, so that reading blocks needs no compiled extension."""
    from lexer import RULES_VERSION

    return RULES_VERSION


def _block_id(
    content: Sequence[Frame], agent_id: str, sequence: int, namespace: str, sources: tuple[Source, ...]
) -> bytes:
    """Over the content by its checksums: whoever makes a block can give it any id, so nothing stronger helps."""
    identity = [agent_id, sequence, namespace, [list(asdict(source).values()) for source in sources]]
    text = json.dumps(identity, separators=(",", ":")).encode("ascii")
    digest = hashlib.blake2b(struct.pack("<Q", len(text)), digest_size=16)
    digest.update(text)
    for frame in content:
        digest.update(frame.checksum)
    return digest.digest()


def _id_frames(block_id: bytes, rows: int) -> tuple[Frame, ...]:
    """The native columns `block_id` and `row`."""
    id_column = column_start(*schema.BLOCK_COLUMNS[0]) + block_id * rows
    return (*frames.compress([id_column]), *_row_frames(rows))


@lru_cache(maxsize=2)  # full blocks mostly have the same number of rows
def _row_frames(rows: int) -> tuple[Frame, ...]:
    numbers = array("I", range(rows))
    if sys.byteorder == "big":
        numbers.byteswap()
    return tuple(frames.compress([column_start(*schema.BLOCK_COLUMNS[1]) + numbers.tobytes()]))


def column_start(name: str, type_: str) -> bytes:
    """What stands before a column's data: name, type, and 0 for the ordinary serialization."""
    return _short(name) + _short(type_) + b"\0"


def _short(text: str) -> bytes:
    data = text.encode("ascii")
    assert len(data) < 128, f"needs a longer varint: {text}"
    return bytes((len(data),)) + data


def _text(template: bytes | str) -> str:
    return template if isinstance(template, str) else template.decode("utf-8", "backslashreplace")


def _encode_header(header: Header) -> bytes:
    fields = asdict(header)
    del fields["format_version"]
    if not header.redaction:  # a gateway that knows nothing of it reads this block
        del fields["redaction"]
    fields["block_id"] = header.block_id.hex()
    fields["counts"] = dict(header.counts)
    return json.dumps(fields, separators=(",", ":")).encode("ascii")


def _decode_header(text: bytes, format_version: int) -> Header:
    """Everything in it is looked at: a checksum says that nobody changed a header, not that its maker meant well, and
    what is wrong in it would stop whoever reads the block later."""
    try:
        fields = {**json.loads(text), "format_version": format_version}
        fields["block_id"] = bytes.fromhex(fields["block_id"])
        fields["columns"] = tuple((_column_name(name), _str(type_)) for name, type_ in fields["columns"])
        fields["sources"] = tuple(_checked_source(Source(**source)) for source in fields["sources"])
        fields["redaction"] = tuple(_str(name) for name in fields.get("redaction", ()))
        fields["templates"] = tuple((_int(number, 0), _utf8(text)) for number, text in fields["templates"])
        fields["counts"] = {_str(name): _int(count, 0) for name, count in fields["counts"].items()}
        return _checked(Header(**fields))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BlockDamaged(f"cannot read block header: {error}") from error


def _checked(header: Header) -> Header:
    """Raises ValueError for what no block can be."""
    if len(header.block_id) != ID_BYTES or len(header.columns) > MAX_COLUMNS:
        raise ValueError("its id or its columns are none")
    _utf8(header.agent_id)
    if not schema.NAMESPACE.fullmatch(_str(header.namespace)):
        raise ValueError(f"namespace {header.namespace[:60]!r}")
    for number, least, most in (
        (header.rows, 0, MAX_ROWS),
        (header.rules_version, 0, 0xFFFF),
        (header.schema_version, 0, 0xFFFF),
        (header.redaction_version, 0, 0xFFFF),
        (header.sequence, 0, UINT64),
        (header.raw_bytes, 0, UINT64),
        (header.created_ns, 0, UINT64),
        (header.min_timestamp, -INT64, INT64 - 1),
        (header.max_timestamp, -INT64, INT64 - 1),
    ):
        _int(number, least, most)
    return header


def _checked_source(source: Source) -> Source:
    for number in (source.device, source.inode, source.start, source.end):
        _int(number, 0)
    _str(source.head)
    _str(source.path)  # of any bytes: half a pair stands for one that is no UTF-8
    return source


def _int(value: Any, least: int, most: int = UINT64) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"number {str(value)[:40]}")
    return value


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text {str(value)[:40]}")
    return value


def _utf8(value: Any) -> str:
    """A text that can be stored. Raises ValueError for half of a pair."""
    _str(value).encode()
    return str(value)


def _column_name(name: str) -> str:
    """The name, which will stand in the text of an INSERT; ValueError when it must not."""
    if not COLUMN_NAME.fullmatch(name) or name == schema.EPOCH_COLUMN[0]:
        raise ValueError(f"column {name!r}")
    return name
