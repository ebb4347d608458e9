"""A sealed block → its columns, as Arrow arrays: decoded when they are asked for, without an object a row.

    String                    binary                     FixedString(n)   fixed_size_binary(n)
    LowCardinality(String)    dictionary<uint32, binary> numbers          numbers of the same width
    DateTime64(9, 'UTC')      int64, nanoseconds         Map(…)           Tags

The layout is walked once, at the start, and everything in it is checked against the data's bounds: a block that is
not what its header says raises BlockDamaged, then or when the column is asked for, and nothing outside is read.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from lexer import find_key, read_strings, skip_strings
from storage.errors import BlockDamaged
from storage.native import frames
from storage.native.block import SealedBlock, column_start
from storage.schema import TAGS_TYPE
from storage.tags import SHARDS, column_name, column_of

MAX_DECODED_BYTES = 1 << 30
"""Far beyond what an agent or a gateway puts into a block; a bound on what a crafted one can make us take."""

FIXED = {
    "UInt8": pa.uint8(), "UInt16": pa.uint16(), "UInt32": pa.uint32(), "UInt64": pa.uint64(),
    "Int8": pa.int8(), "Int16": pa.int16(), "Int32": pa.int32(), "Int64": pa.int64(), "Float64": pa.float64(),
    "DateTime64(9, 'UTC')": pa.int64(),
}  # fmt: skip
FIXED_STRING = re.compile(r"FixedString\((\d{1,4})\)", re.ASCII)
STRING, LOW = "String", "LowCardinality(String)"
INDEXES = (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())

# What the first word of a LowCardinality's data says.
LOW_VERSION = 1
GLOBAL_DICTIONARY, OWN_KEYS = 1 << 8, 1 << 9

_WORD = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class _Low:
    """Where a LowCardinality's dictionary of `count` strings and its indexes of a row each are."""

    strings: int
    count: int
    indexes: int
    type: pa.DataType
    rows: int


@dataclass(frozen=True, slots=True)
class _Map:
    """Where a map's ends, its keys, and its values are; `entries` of all rows together."""

    ends: int
    keys: _Low
    values: int
    entries: int


@dataclass(frozen=True, slots=True)
class _Plain:
    """Where the data of a column of one piece are."""

    start: int
    end: int


_Place = _Plain | _Low | _Map


@dataclass(frozen=True)
class Tags:
    """One shard of the tags. The entries of row r are those from `ends[r - 1]` (0 at first) up to `ends[r]`."""

    rows: int
    ends: memoryview  # uint64 a row
    keys: pa.DictionaryArray  # an entry each
    values: pa.BinaryArray  # an entry each

    def names(self) -> list[bytes]:
        """The keys that the shard's dictionary has."""
        found: list[bytes] = self.keys.dictionary.to_pylist()
        return found

    def of(self, key: bytes) -> pa.BinaryArray:
        """The values of a key, a row each; null where a row lacks it."""
        names = self.names()
        if key not in names:
            return pa.nulls(self.rows, pa.binary())
        numbers = memoryview(self.keys.indices.buffers()[1]).cast("I") if len(self.keys) else _NOTHING
        places, valid = find_key(self.ends, numbers, names.index(key))
        taken = pa.Array.from_buffers(pa.int32(), self.rows, [pa.py_buffer(valid), pa.py_buffer(places)])
        return self.values.take(taken)


_NOTHING = memoryview(b"").cast("I")


class BlockColumns:
    """The columns of one block. Not thread-safe; arrays that it has given stay valid without it."""

    def __init__(self, block: SealedBlock) -> None:
        """Unpacks the frames, whose checksums are looked at, and walks over all columns. Raises BlockDamaged."""
        if block.decoded_bytes > MAX_DECODED_BYTES:
            raise BlockDamaged(f"cannot read block: {block.decoded_bytes} bytes of columns are too many")
        self.header = block.header
        self.rows = block.header.rows
        self._made: dict[str, pa.Array] = {}
        self._tags: dict[int, Tags] = {}
        with _damaged():
            self._data = frames.decompress(block.frames)
            self._places = self._walk()

    @cached_property
    def block_id(self) -> str:
        """In hex, as ids of events have it."""
        return self.header.block_id.hex()

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def column(self, name: str) -> pa.Array:
        """A column that is no map. Raises BlockDamaged, KeyError."""
        if name not in self._made:
            with _damaged():
                self._made[name] = self._read(self._places[name], self._types[name])
        return self._made[name]

    def shard(self, number: int) -> Tags:
        """One of the maps that tags are in. Raises BlockDamaged, KeyError."""
        if number not in self._tags:
            place = self._places[column_name(number)]
            if not isinstance(place, _Map):
                raise BlockDamaged(f"cannot read block: column {column_name(number)} is no map")
            with _damaged():
                self._tags[number] = self._read_map(place)
        return self._tags[number]

    def tag(self, key: str | bytes) -> pa.BinaryArray:
        """The values of a tag, a row each; null where a row lacks it. Raises BlockDamaged."""
        name = key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key
        column = column_of(name)
        if column not in self._places:
            return pa.nulls(self.rows, pa.binary())
        with _damaged():
            return self.shard(SHARD_NUMBERS[column]).of(name)

    # --- the walk ----------------------------------------------------------------------------------------

    def _walk(self) -> dict[str, _Place]:
        self._types = dict(self.header.columns)
        places: dict[str, _Place] = {}
        at = 0
        for name, type_ in self.header.columns:
            start = column_start(name, type_)
            if self._data[at : at + len(start)] != start:
                raise BlockDamaged(f"cannot read block: column {name} is not where it should be")
            places[name], at = self._pass(type_, at + len(start))
        if at != len(self._data):
            raise BlockDamaged("cannot read block: there is more after its columns")
        return places

    def _pass(self, type_: str, at: int) -> tuple[_Place, int]:
        if type_ == STRING:
            end = skip_strings(self._data, at, self.rows)
            return _Plain(at, end), end
        if type_ == LOW:
            return self._pass_low(self._version(at), self.rows)
        if type_ == TAGS_TYPE:
            return self._pass_map(self._version(at))
        end = self._within(at, self.rows * _width(type_))
        return _Plain(at, end), end

    def _pass_low(self, at: int, rows: int) -> tuple[_Low, int]:
        if not rows:
            return _Low(at, 0, at, pa.uint32(), 0), at
        flags, count = self._word(at), self._word(at + 8)
        if flags & GLOBAL_DICTIONARY or not flags & OWN_KEYS or flags & 0xFF >= len(INDEXES):
            raise BlockDamaged("cannot read block: a dictionary of an unknown kind")
        end = skip_strings(self._data, at + 16, count)
        if self._word(end) != rows:
            raise BlockDamaged("cannot read block: a dictionary of too few or too many rows")
        type_ = INDEXES[flags & 0xFF]
        return _Low(at + 16, count, end + 8, type_, rows), self._within(end + 8, rows * type_.bit_width // 8)

    def _pass_map(self, at: int) -> tuple[_Map, int]:
        end = self._within(at, self.rows * 8)
        entries = self._word(end - 8) if self.rows else 0
        keys, values = self._pass_low(end, entries)
        end = skip_strings(self._data, values, entries)
        return _Map(at, keys, values, entries), end

    def _version(self, at: int) -> int:
        if self._word(at) != LOW_VERSION:
            raise BlockDamaged("cannot read block: a dictionary of an unknown version")
        return at + 8

    def _word(self, at: int) -> int:
        value: int = _WORD.unpack_from(self._data, at)[0]
        return value

    def _within(self, at: int, size: int) -> int:
        if at + size > len(self._data):
            raise BlockDamaged("cannot read block: a column is cut short")
        return at + size

    # --- reading -----------------------------------------------------------------------------------------

    def _read(self, place: _Place, type_: str) -> pa.Array:
        if isinstance(place, _Low):
            return self._read_low(place)
        if isinstance(place, _Map):
            raise KeyError(f"a column of maps is read by its shard: {type_}")
        if type_ == STRING:
            return self._strings(place.start, self.rows)
        fixed = FIXED_STRING.fullmatch(type_)
        return self._numbers(place.start, self.rows, pa.binary(int(fixed[1])) if fixed else FIXED[type_])

    def _read_low(self, place: _Low) -> pa.DictionaryArray:
        # Copied and of one width, so that a key's number is looked for in plain memory; indexes are checked.
        indexes = self._numbers(place.indexes, place.rows, place.type)
        indexes = indexes if place.type == pa.uint32() else indexes.cast(pa.uint32())
        return pa.DictionaryArray.from_arrays(indexes, self._strings(place.strings, place.count))

    def _read_map(self, place: _Map) -> Tags:
        ends = memoryview(self._data[place.ends : place.ends + self.rows * 8]).cast("Q")
        return Tags(self.rows, ends, self._read_low(place.keys), self._strings(place.values, place.entries))

    def _strings(self, at: int, count: int) -> pa.BinaryArray:
        offsets, strings, _ = read_strings(self._data, at, count)
        return pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(strings)])

    def _numbers(self, at: int, count: int, type_: pa.DataType) -> pa.Array:
        data = self._data[at : at + count * (type_.bit_width // 8)]  # a copy, and so aligned
        return pa.Array.from_buffers(type_, count, [None, pa.py_buffer(data)])


SHARD_NUMBERS = {column_name(shard): shard for shard in range(SHARDS)}


def _width(type_: str) -> int:
    """Bytes of a value."""
    if fixed := FIXED_STRING.fullmatch(type_):
        return int(fixed[1])
    if type_ not in FIXED:
        raise BlockDamaged(f"cannot read block: column of type {type_[:60]}", "upgrade this program")
    return int(FIXED[type_].bit_width) // 8


@contextmanager
def _damaged() -> Iterator[None]:
    """What cannot be read, in our words."""
    try:
        yield
    except BlockDamaged:
        raise
    except (
        ValueError,
        RuntimeError,
        OverflowError,
        IndexError,
        struct.error,
    ) as error:  # LZ4's is a RuntimeError
        raise BlockDamaged(f"cannot read block: {error}") from error
