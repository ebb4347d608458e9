from collections.abc import Mapping, Sequence
from typing import Any, Literal

RULES_VERSION: int
MAX_LINE_BYTES: int
MAX_RECORD_LINES: int
LOOK_BYTES: int
PADDING_BYTES: int
JSON_DEPTH: int
MAX_TAGS: int
MAX_KEY_BYTES: int
REDACTION_CLASSES: tuple[str, ...]
OTLP_DEPTH: int
OTLP_MAX_RECORD_BYTES: int
OTLP_MAX_TAGS: int

Format = Literal["auto", "text", "json", "logfmt"]
Buffer = bytes | bytearray | memoryview

def key_shard(key: bytes, shards: int) -> int:
    """CRC-32 (IEEE) of the key, modulo `shards`."""

def hash64(text: bytes) -> int:
    """The hash that makes a fingerprint out of a template's text."""

def simd_ways() -> list[str]:
    """The ways to classify bytes that this processor has: "scalar", "baseline", then "avx2" and "avx512"."""

def choose_simd(way: str) -> None:
    """Classify bytes in one of `simd_ways`, or "auto": the best. All give the same. For tests and benchmarks."""

def timestamp(text: bytes, received_ns: int) -> tuple[int, int] | None:
    """The timestamp that `text` starts with, as (ns since 1970, bytes taken), or None."""

def lex_all(data: Buffer, received_ns: int = 0) -> tuple[int, int]:
    """Lex every line of `data`, which ends with PADDING_BYTES that are no part of it: (lines, sum of fingerprints).

    Nothing is kept: this is the cost of the lexer alone, for benchmarks.
    """

def split_all(data: Buffer) -> tuple[int, int]:
    """The same without lexing: find every line and hash its bytes. What any reader of lines must pay."""

def skip_strings(data: Buffer, start: int, count: int) -> int:
    """Where `count` strings of a native column that start there end. ValueError where they do not fit in."""

def read_strings(data: Buffer, start: int, count: int) -> tuple[bytes, bytes, int]:
    """The strings as Arrow has them, and where they end: `count` + 1 offsets of 32 bits, then all their bytes.

    Raises ValueError where they do not fit in; nothing is read beyond `data`, or allocated for what is not there.
    """

def find_key(ends: memoryview, keys: memoryview, wanted: int) -> tuple[bytes, bytes]:
    """Of each row of a map, the place (int32) of its first entry with the key number `wanted`, and a bit for whether
    it has one, lowest bit first. `ends`: uint64, where each row's entries end; `keys`: uint32, an entry's key.

    Raises ValueError for ends that shrink or lie beyond the keys.
    """

def level_of(text: bytes) -> str:
    """The level that a whole word names, in any case ("WARNING", "err", "I"), by the name it is stored under; or ""."""

def next_field(data: Buffer, at: int, end: int) -> tuple[int, int, int, int | None]:
    """One field of a protobuf message: where the next one starts, its number, and its value and None, or, where it is
    bytes, where they start and end. Raises ValueError for what is damaged."""

def role_of(name: str) -> str:
    """The column that a key of this name fills in a structured line: "time", "level", "message", "service", "host",
    "trace_id", "span_id", or "" for a tag."""

class Lexer:
    """One line at a time, for tools and tests; blocks of lines go through Columns."""

    def lex(self, line: bytes, received_ns: int = 0) -> None:
        """Lex one line without its newline; the properties then speak of it."""
    @property
    def fingerprint(self) -> int: ...
    @property
    def template(self) -> bytes: ...
    @property
    def timestamp(self) -> int | None: ...
    @property
    def level(self) -> str: ...
    @property
    def spans(self) -> list[tuple[int, int, str]]: ...
    @property
    def pairs(self) -> list[tuple[bytes, bytes]]: ...

class Multiline:
    """Which lines belong together. One line of text that is a JSON object stands alone in any case.

    `text` is `java`, `python`, `go` (stack traces, also after the line that reports them), several of them with
    commas, `auto` (all three, and whatever starts with white space goes on with the line before), or
    `start:REGEX`: a record starts where a line's beginning matches, in the syntax of `re`, over bytes.

    The detectors are native; a regex costs one call of `re` a line.
    """

    text: str
    def __init__(self, text: str) -> None:
        """Raises ValueError for what is none of them."""

class Redaction:
    """What is masked in every text: secrets of `classes`, and values whose key has a name of `keys`.

    A mask is `<redacted:CLASS>`, or with a `hash_key` (1 to 64 bytes) `<redacted:CLASS:HASH>`, where HASH is 12
    hexadecimal digits of the value's keyed BLAKE2b. Immutable; may be shared by threads.
    """

    classes: tuple[str, ...]
    keys: tuple[str, ...]
    hashed: bool
    def __init__(self, classes: Sequence[str] = (), keys: Sequence[str] = (), hash_key: bytes = b"") -> None:
        """Raises ValueError for an unknown class, a name that cannot be one, or a key that is too long."""
    @property
    def names(self) -> tuple[str, ...]:
        """Its classes, and `key:NAME` for each of its names: what two policies are compared by."""
    def mask(self, text: bytes, carry: Carry | None = None) -> tuple[bytes, dict[str, int]]:
        """A text as it would be stored, and how many masks of each class are in it."""

class Carry:
    """What the next record of a stream must know of those before, where secrets are masked. New at its start."""

class OtlpLogs:
    """The log records of an ExportLogsServiceRequest of OpenTelemetry, read once from its first to its last.

    Records with values nested deeper than OTLP_DEPTH or of more than OTLP_MAX_RECORD_BYTES are rejected: passed over.
    """

    records: int
    """Those that are not rejected."""
    left: int
    """Of them, those that were not taken yet."""
    rejected: dict[str, int]
    """How many were rejected, by why: "too deep", "too large"; empty where none was."""
    def __init__(self, data: Buffer) -> None:
        """Copies the bytes, and checks all of them.

        Raises ValueError where they are no such message (nothing of it can be taken), where a resource or scope is
        nested too deep, or where the records with their resources come to more than 512 MiB.
        """

class Columns:
    """The columns of one block, built in ClickHouse's native layout while lines are read.

    Not thread safe; `add` releases the interpreter lock.
    """

    shards: int
    max_rows: int
    max_bytes: int

    redaction: Redaction | None

    def __init__(
        self,
        shards: int = 31,
        max_rows: int = 131072,
        max_bytes: int = 48 << 20,
        redaction: Redaction | None = None,
    ) -> None:
        """Room for `max_rows` events or about `max_bytes` of lines, whichever is reached first.

        With a `redaction`, what it names is in no column, and `counts` has `redacted_CLASS`.
        """
    def add(
        self,
        data: Buffer,
        *,
        service: str = "",
        host: str = "",
        tags: Mapping[str, str] | None = None,
        received_ns: int,
        format: str = "auto",
        final: bool = False,
        flush: bool = False,
        multiline: Multiline | None = None,
        carry: Carry | None = None,
        container: bool = False,
    ) -> int:
        """Take whole records from `data` until it or the block's room ends; return the bytes taken.

        A record is a line, or with `multiline` (only in formats auto and text) the lines that belong together; the
        last one waits until the line after it is there. `flush` takes it all the same, `final` an unterminated
        last line too. `carry` is the stream's, from call to call, where secrets are masked. `container`: lines are
        read without what container runtimes put before them (TIME stdout|stderr P|F TEXT), of which the stream is the
        tag log.iostream and the time that of receipt; what they cut is whole again.
        Blank lines are taken and counted, not stored, unless a record goes on after them. A line
        of more than MAX_LINE_BYTES is stored in pieces, and so are records of more bytes than that or of more
        than MAX_RECORD_LINES. Raises ValueError for an unknown format.
        """
    def add_one(
        self,
        data: bytes | str,
        *,
        format: str = "message",
        service: bytes | str = b"",
        host: bytes | str = b"",
        tags: Mapping[str, bytes | str] | Sequence[tuple[bytes | str, bytes | str]] = (),
        received_ns: int,
        timestamp_ns: int | None = None,
        level: str = "",
        trace_id: bytes | str = b"",
        span_id: bytes | str = b"",
        carry: Carry | None = None,
    ) -> None:
        """Take `data` as one record, whatever newlines are in it, also where it is empty or the block is full.

        `message`: the text is the message and nothing is looked for in it but its level, where none is given; the
        other formats read it as `add` reads a line. `timestamp_ns`, `level` (a name that is stored, as `level_of`
        gives it), `trace_id` and `span_id` hold before what the text says; `service`, `host` and `tags` are for what
        it does not say. Of a key that comes twice among `tags` the first holds. More than MAX_LINE_BYTES are stored
        in pieces. Raises ValueError for an unknown format or level, more than MAX_TAGS tags, or a key of more than
        MAX_KEY_BYTES.
        """
    def add_otlp(self, logs: OtlpLogs, *, received_ns: int) -> int:
        """Take records until there are no more, or the block is full; how many.

        A text body is the message, as `add_one` takes it; of a map it is its `message` or `msg`, else the map's JSON
        text, and its members are tags; of any other value its JSON text. Attributes are tags, maps in them flattened
        to dotted names, arrays as JSON text; a record's hold before its scope's, these before its resource's. Of
        more than OTLP_MAX_TAGS, or with names longer than MAX_KEY_BYTES, the rest is one tag, `overflow_tags`.
        """
    def add_documents(
        self,
        data: Buffer,
        at: int,
        action: bytes,
        *,
        service: bytes | str = b"",
        host: bytes | str = b"",
        tags: Sequence[tuple[bytes | str, bytes | str]] = (),
        received_ns: int,
    ) -> tuple[int, bytes]:
        """Take the documents of a bulk request, from `at` on, while the line before each is `action` and until the
        block is full: (where it stopped, for each document 1 or, where it is no JSON object and was left out, 0).

        The service, host and tags are for what a document does not say.
        """
    def add_entries(
        self,
        data: Buffer,
        at: int,
        end: int,
        *,
        service: bytes | str = b"",
        host: bytes | str = b"",
        tags: Sequence[tuple[bytes | str, bytes | str]] = (),
        level: str = "",
        received_ns: int,
    ) -> tuple[int, bool]:
        """Take the entries of the logproto stream in `data[at:end]`, until the block is full: (where it stopped,
        whether there is an entry whose tags are too many, or with a name too long). An entry's tags hold before
        `tags`, its line before both.

        PADDING_BYTES must follow. Raises ValueError for a damaged message; part of it may have been taken.
        """
    def members(self, data: Buffer, at: int) -> tuple[int, list[tuple[bytes, int, int]]] | None:
        """The JSON object that `data[at:]` starts with: where it ends, and of each member the name as it is written,
        where its value starts and where that ends.

        None where there is no whole object, or one of more than 64 members. `data` ends with PADDING_BYTES more.
        """
    @property
    def rows(self) -> int: ...
    @property
    def full(self) -> bool: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def raw_bytes(self) -> int: ...
    @property
    def min_timestamp(self) -> int: ...
    @property
    def max_timestamp(self) -> int: ...
    @property
    def counts(self) -> dict[str, int]: ...
    @property
    def redacts(self) -> tuple[str, ...]:
        """The `names` of its redaction; none without one."""
    @property
    def column_types(self) -> list[tuple[str, str]]: ...
    def templates(self) -> list[tuple[int, bytes]]:
        """(fingerprint, template) of shapes that this object meets first; at most 4,096 a block."""
    def chunks(self, min_packed: int | None = None) -> list[Any]:
        """Pieces whose concatenation is the native columns; views of memory that `reset` and `add` reuse.

        From `min_packed` rows on, offsets of maps come as (LZ4 block, unpacked bytes), made without ever being
        written out: they are nearly half of a block, and most of what LZ4 would have to look at.
        """
    def reset(self) -> None:
        """Empty the block; memory, keys and known templates are kept."""
    def json_valid(self, text: bytes) -> bool:
        """Whether `text` is one JSON text after RFC 8259, nested at most JSON_DEPTH deep."""
    def fields(self, line: bytes, format: str = "json") -> list[tuple[bytes, bytes]] | None:
        """What a structured line is taken apart into; None if it is none."""
