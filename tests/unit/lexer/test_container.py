"""Lines that a container runtime wrapped are read as their writer wrote them, however the bytes come in."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lexer import MAX_LINE_BYTES, Columns, Multiline
from storage.native.block import parse_header, seal
from tests.unit.lexer.test_multiline import messages

NOW = 1_800_000_000 * 10**9
WRAPPED = re.compile(rb"(\S+) (stdout|stderr) ([PF])(?::[^: ]+)* ?(.*)", re.DOTALL)


def at(number: int) -> bytes:
    return b"2026-11-29T10:00:00.%09dZ" % number


def line(number: int, text: bytes, stream: bytes = b"stdout", tag: bytes = b"F") -> bytes:
    return at(number) + b" " + stream + b" " + tag + b" " + text + b"\n"


def read(data: bytes, piece: int = 1 << 20, **more: object) -> Columns:
    """Add the bytes as a reader does: in chunks, what was not taken again with what follows it."""
    columns, done, known = Columns(max_rows=1 << 20), 0, piece
    while done < len(data):
        known = max(known, done)
        final = known >= len(data)
        taken = columns.add(data[done:known], received_ns=NOW, container=True, final=final, **more)  # type: ignore[arg-type]
        done += taken
        known += piece
        assert taken or known < len(data) + 2 * piece, "the reader does not get on"
    return columns


def test_the_text_is_what_the_program_wrote() -> None:
    columns = read(line(1, b"hello world") + line(2, b'{"msg":"from json","level":"error"}', b"stderr"))
    assert messages(columns) == [b"hello world", b"from json"]
    assert columns.min_timestamp == 1795946400 * 10**9 + 1
    assert columns.counts["lines_without_time"] == 0


def test_its_own_time_holds_before_the_runtimes() -> None:
    columns = read(line(5, b"2026-11-29T09:59:58.250Z shutting down"))
    assert columns.min_timestamp == 1795946398 * 10**9 + 250_000_000


def test_a_line_that_was_cut_is_whole_again() -> None:
    data = line(1, b"one ", tag=b"P") + line(2, b"two ", tag=b"P:x") + line(3, b"three", tag=b"F:y:z")
    columns = read(data)
    assert messages(columns) == [b"one two three"]
    assert columns.min_timestamp == 1795946400 * 10**9 + 1, "it is of the time of its beginning"
    assert columns.raw_bytes == len(data)


def test_streams_are_cut_apart() -> None:
    data = line(1, b"out-", tag=b"P") + line(2, b"err", b"stderr") + line(3, b"put")
    assert messages(read(data)) == [b"err", b"out-put"]


def test_an_unfinished_line_waits_and_what_began_behind_it_too() -> None:
    data = line(1, b"out-", tag=b"P") + line(2, b"err", b"stderr")
    columns = Columns()
    assert columns.add(data, received_ns=NOW, container=True) == 0
    assert columns.add(data + line(3, b"put"), received_ns=NOW, container=True) == len(data + line(3, b"put"))
    assert messages(columns) == [b"err", b"out-put"]


def test_the_end_of_a_file_ends_it() -> None:
    assert messages(read(line(1, b"cut off", tag=b"P"))) == [b"cut off"]


def test_stack_traces_are_one_record() -> None:
    trace = [b"java.lang.IllegalStateException: no pool", b"\tat a.B.c(B.java:5)", b"\tat a.D.e(D.java:6)"]
    data = b"".join(line(n, text, b"stderr") for n, text in enumerate(trace)) + line(9, b"next")
    for how in ("java", "auto", r"start:\w"):
        assert messages(read(data, multiline=Multiline(how))) == [b"\n".join(trace), b"next"], how


@pytest.mark.parametrize(
    "text",
    [b"plain text", b"2026-11-29T10:00:00Z stdin F x", b"2026-11-29T10:00:00Z stdout X x", b"stdout F x",
     b"2026-11-29T10:00:00Z stdout FF x", b"2026-11-29T10:00:00Z stdout PX x", b"2026-11-29T10:00:00Zstdout F x"],
)  # fmt: skip
def test_what_no_runtime_wrote_is_kept_as_it_is(text: bytes) -> None:
    assert messages(read(text + b"\n")) == [text]


def test_an_empty_line_of_the_program_is_empty() -> None:
    columns = read(line(1, b"") + at(2) + b" stdout F\n" + line(3, b"x"))
    assert messages(columns) == [b"x"]
    assert columns.counts["empty_lines"] == 2


def test_a_line_without_end_is_stored_in_pieces() -> None:
    pieces = [b"%07d" % number + b"x" * 16377 for number in range(140)]
    data = b"".join(line(n, text, tag=b"P") for n, text in enumerate(pieces)) + line(999, b"end")
    for piece in (1 << 20, (1 << 20) + (64 << 10)):
        found = messages(read(data, piece))
        assert b"".join(found) == b"".join(pieces) + b"end"
        assert 3 <= len(found) <= 4


def test_pieces_that_are_hardly_anything_do_not_hold_a_reader_up() -> None:
    data = b"".join(line(n, b"y", tag=b"P") for n in range(60_000)) + line(99_999, b"z")
    assert b"".join(messages(read(data, (1 << 20) + (64 << 10)))) == b"y" * 60_000 + b"z"


def test_a_wrapped_line_of_a_mebibyte_is_kept_whole() -> None:
    text = b"w" * (MAX_LINE_BYTES - 100)
    assert messages(read(line(1, text), (1 << 20) + (64 << 10))) == [text]


def reference(data: bytes) -> list[bytes]:
    """The messages, by plain means: in the order in which their lines end."""
    found, open_ = [], {b"stdout": b"", b"stderr": b""}
    for one in data.split(b"\n")[:-1]:
        match = WRAPPED.fullmatch(one)
        assert match is not None
        stream, text = match[2], match[4]
        open_[stream] += text
        if match[3] == b"F":
            found.append(open_[stream])
            open_[stream] = b""
    found += [text for text in (open_[b"stdout"], open_[b"stderr"]) if text]
    return [text.removesuffix(b"\r") for text in found if text not in (b"", b"\r")]


TEXT = st.binary(max_size=12).map(lambda text: text.replace(b"\n", b" ").replace(b"{", b"("))
LINES = st.tuples(
    TEXT, st.sampled_from([b"stdout", b"stderr"]), st.sampled_from([b"F", b"P", b"F:a", b"P:b"])
)


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, max_size=12), st.integers(1, 200))
def test_as_a_plain_reader_has_it_however_the_bytes_come(
    lines: list[tuple[bytes, bytes, bytes]], piece: int
) -> None:
    data = b"".join(line(number, *one) for number, one in enumerate(lines))
    columns = read(data, piece, format="text")
    assert (messages(columns) if columns.rows else []) == reference(data)
    assert columns.raw_bytes <= len(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 300))
def test_any_bytes_are_taken(data: bytes, piece: int) -> None:
    columns = read(data, piece)
    assert columns.rows <= data.count(b"\n") + 3


@settings(max_examples=200, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=30), st.integers(1, 5))
def test_a_block_that_is_full_ends_where_nothing_is_missing(
    lines: list[tuple[bytes, bytes, bytes]], room: int
) -> None:
    data = b"".join(line(number, *one) for number, one in enumerate(lines))
    columns, done, found = Columns(max_rows=room), 0, []
    while done < len(data):
        taken = columns.add(data[done:], received_ns=NOW, container=True, final=True, format="text")
        assert taken > 0
        done += taken
        found += messages(columns) if columns.rows else []
        columns.reset()
    assert sorted(found) == sorted(reference(data))


def test_the_stream_is_a_tag() -> None:
    columns = read(line(1, b"a") + line(2, b"b", b"stderr"))
    header, _ = parse_header(seal(columns, agent_id="a", sequence=1, namespace="default"))
    assert header.rows == 2
    assert b"log.iostream" in b"".join(bytes(chunk) for chunk in columns.chunks())
