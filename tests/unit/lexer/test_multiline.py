"""Stack traces and other records of several lines: what belongs together, however the bytes come in."""

import traceback
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lexer import MAX_LINE_BYTES, MAX_RECORD_LINES, Columns, Multiline, fingerprint

NOW = 1_800_000_000 * 10**9
TRACES = {path.stem: path.read_bytes() for path in sorted(Path(__file__).with_name("traces").glob("*.txt"))}
LINES = [
    b"2024-01-31 10:00:01 INFO an ordinary line\n",
    b'10.0.0.1 - - [31/Jan/2024:10:00:00 +0000] "GET /a(b) HTTP/1.1" 200 5\n',
    b'{"time":"2024-01-31T10:00:00Z","n":1}\n',
    b"level=info msg=ok\n",
    b"just words (in brackets)\n",
]


def messages(columns: Columns) -> list[bytes]:
    """The message of each row, from the native column."""
    data, found = bytes(columns.chunks()[9]), []
    at = 0
    while at < len(data):
        size = shift = 0
        while data[at] & 128:
            size |= (data[at] & 127) << shift
            shift, at = shift + 7, at + 1
        size |= data[at] << shift
        found.append(data[at + 1 : at + 1 + size])
        at += 1 + size
    return found


def records(data: bytes, how: str = "auto", format: str = "text") -> list[bytes]:
    columns = Columns()
    assert columns.add(data, received_ns=NOW, final=True, multiline=Multiline(how), format=format) == len(
        data
    )
    assert columns.counts["joined_lines"] == sum(one.count(b"\n") for one in messages(columns))
    assert columns.counts["multiline_records"] == sum(b"\n" in one for one in messages(columns))
    return messages(columns) if columns.rows else []


def whole(text: bytes) -> bytes:
    return text.removesuffix(b"\n").removesuffix(b"\r")


def detector(name: str) -> str:
    return {"indented": "auto"}.get(name, name.partition("-")[0])


@pytest.mark.parametrize("name", TRACES)
def test_trace_is_one_record_among_ordinary_lines(name: str) -> None:
    for how in {detector(name), "auto", "java,python,go,auto"}:
        for line in LINES:
            pieces = [b'{"alone":1}\n', TRACES[name], line, b'{"alone":2}\n', TRACES[name]]
            assert records(b"".join(pieces), how, "auto") == [whole(piece) for piece in pieces]


@pytest.mark.parametrize("name", TRACES)
def test_carriage_returns_stay_within_and_end_nothing(name: str) -> None:
    data = (TRACES[name] + LINES[0]).replace(b"\n", b"\r\n")
    assert records(data, detector(name)) == [
        whole(TRACES[name]).replace(b"\n", b"\r\n"),
        whole(LINES[0]),
    ]


@pytest.mark.parametrize("name", [name for name in TRACES if name != "indented"])
def test_trace_of_another_language_is_left_alone(name: str) -> None:
    other = {"java": "go", "python": "go", "go": "python"}[detector(name)]
    assert records(TRACES[name], other) == [line for line in TRACES[name].splitlines() if line]


@pytest.mark.parametrize(
    "name", ["java-bare", "python-syntax-error", "go-http", "go-panic", "java-suppressed"]
)
def test_two_traces_in_a_row_are_two(name: str) -> None:
    assert records(2 * TRACES[name], detector(name)) == 2 * [whole(TRACES[name])]


@pytest.mark.parametrize("name", TRACES)
def test_trace_that_arrives_byte_by_byte_is_the_same_record(name: str) -> None:
    data, how = TRACES[name] + LINES[0] + LINES[1], Multiline(detector(name))
    expected = messages_of(data, how)
    columns, at = Columns(), 0
    for end in range(1, len(data) + 1):
        at += columns.add(data[at:end], received_ns=NOW, multiline=how) if end > at else 0
    columns.add(data[at:], received_ns=NOW, multiline=how, final=True)
    assert messages(columns) == expected


def messages_of(data: bytes, how: Multiline) -> list[bytes]:
    columns = Columns()
    columns.add(data, received_ns=NOW, multiline=how, final=True)
    return messages(columns)


def test_what_python_prints_is_one_record() -> None:
    def fail(depth: int) -> None:
        if depth:
            return fail(depth - 1)
        try:
            compile("def f(:", "x.py", "exec")
        except SyntaxError as error:
            raise ExceptionGroup("several", [ValueError("one\n  two"), error]) from error

    try:
        fail(8)
    except ExceptionGroup as error:
        text = "2024-01-31 ERROR failed\n" + "".join(traceback.format_exception(error))
    for how in ("python", "auto"):
        assert records(text.encode() + LINES[0], how) == [whole(text.encode()), whole(LINES[0])]


def test_interleaved_lines_cut_a_trace_and_lose_nothing() -> None:
    lines = TRACES["java-caused-by"].splitlines(keepends=True)
    data = b"".join([*lines[:4], LINES[0], *lines[4:]])
    found = records(data, "java")
    assert found[0] == whole(b"".join(lines[:4]))
    assert found[1] == whole(LINES[0] + b"".join(lines[4:]))


@pytest.mark.parametrize(
    ("how", "text", "expected"),
    [
        ("auto", b"a\n b\n\tc\nd\n", [b"a\n b\n\tc", b"d"]),
        ("auto", b" a\n b\n", [b" a\n b"]),
        ("auto", b"a\n\n\nb\n", [b"a", b"b"]),
        ("auto", b"a\n\n  b\n\nc\n", [b"a\n\n  b", b"c"]),
        ("java", b"a\n b\n", [b"a", b" b"]),
        ("java", b"a\n  at x.y(Z.java:1)\n b\n", [b"a\n  at x.y(Z.java:1)\n b"]),
        ("java", b"a\nx.FooException: y\nx.FooException: y\n", [b"a\nx.FooException: y", b"x.FooException: y"]),
        ("java", b"a\nx.FooExceptional: y\n", [b"a", b"x.FooExceptional: y"]),
        ("go", b"a\ngoroutine 1 [running]:\nf(x) and more\n", [b"a\ngoroutine 1 [running]:", b"f(x) and more"]),
        ("go", b"panic: a\n\npanic: b\n", [b"panic: a", b"panic: b"]),
        ("python", b"ValueError: x\n", [b"ValueError: x"]),
        ("python", b"a\nValueError: x\n", [b"a", b"ValueError: x"]),
        ("start:\\d", b"1 a\nb\n\nc\n2 d\n\n3\n", [b"1 a\nb\n\nc", b"2 d", b"3"]),
        ("start:^\\[", b"a\n[b\nc\n", [b"a", b"[b\nc"]),
        ("start:.*END$", b"a\nb END\r\nc\n", [b"a", b"b END\r\nc"]),
        ("start:\\Ax", b"x\ny\nx\n", [b"x\ny", b"x"]),
        ("start:(?s)a.*z", b"a\nz\na z\n", [b"a\nz", b"a z"]),
    ],
)  # fmt: skip
def test_rules(how: str, text: bytes, expected: list[bytes]) -> None:
    assert records(text, how) == expected


def test_json_lines_are_never_joined() -> None:
    data = b'2024 start\n{"a":1}\n{"a":\n 2}\n  {"b":3}\n{"a":4}\n'
    assert records(data, "start:2024", "auto")[:2] == [b"2024 start", b'{"a":1}']
    assert records(b'{"a":1}\n\tat x.y(z)\n', "auto", "auto") == [b'{"a":1}', b"\tat x.y(z)"]
    assert records(b'{"a":1}\n{"a":2}\n', "start:never", "auto") == [b'{"a":1}', b'{"a":2}']
    assert records(b'a\n{"a":1}\n', "start:never", "text") == [b'a\n{"a":1}']


def test_json_over_several_lines_is_taken_apart() -> None:
    data = b'{\n  "msg": "hello",\n  "n": 1\n}\n{\n}\n'
    columns = Columns()
    multiline = Multiline("start:\\{")
    assert columns.add(data, received_ns=NOW, final=True, multiline=multiline, format="auto") == len(data)
    assert messages(columns) == [b"hello", b"{\n}"]
    assert columns.counts["multiline_records"] == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("java-caused-by", lambda text: text.replace(b":277)", b":278)").replace(b"... 50", b"... 51")),
        ("python-chained", lambda text: text.replace(b"line 40", b"line 41").replace(b"job 17", b"job 18")),
        ("go-http", lambda text: text.replace(b"0xb9", b"0xc0").replace(b"53210", b"53211")),
    ],
)
def test_fingerprint_of_a_trace_does_not_depend_on_its_frames(one: str, other: object) -> None:
    assert callable(other)
    changed = other(TRACES[one])
    assert changed != TRACES[one]
    assert templates(TRACES[one]) == templates(changed)


def templates(data: bytes, how: str = "auto") -> list[tuple[int, bytes]]:
    columns = Columns()
    columns.add(data, received_ns=NOW, final=True, multiline=Multiline(how))
    return columns.templates()


@pytest.mark.parametrize(
    ("name", "second"),
    [
        (
            "java-caused-by",
            b"org.springframework.dao.DataAccessResourceFailureException: Unable to acquire JDBC Connection",
        ),
        ("java-suppressed", None),
        ("python-chained", b"KeyError: 'reporter'"),
        (
            "python-exception-group",
            b"  | ExceptionGroup: unhandled errors in a TaskGroup (<*> sub-exceptions)",
        ),
        ("go-panic", None),
        ("indented", None),
    ],
)
def test_template_is_the_first_line_and_the_exceptions(name: str, second: bytes | None) -> None:
    [(number, template)] = templates(TRACES[name])
    first, _, rest = template.partition(b"\n")
    assert rest == (second or b"")
    if second is None:
        assert number == fingerprint(TRACES[name].splitlines()[0])
    assert templates(TRACES[name], "start:\\S+-\\S+-\\S+ |Exc|pan")[0][1] == template
    assert b"failed" not in first or b"<*>" in first


def test_time_level_and_pairs_are_the_first_lines() -> None:
    columns = Columns()
    text = b"2024-01-31T10:00:00Z ERROR job=7 failed\n\tat 2025-01-31T10:00:00Z INFO x=8\n"
    columns.add(text, received_ns=NOW, final=True, multiline=Multiline("java"))
    assert columns.min_timestamp == columns.max_timestamp == 1_706_695_200 * 10**9
    block = b"".join(map(bytes, columns.chunks()))
    assert b"\x03job" in block
    assert b"\x05error" in block
    assert b"\x01x\x01" not in block.replace(text, b"")


def test_record_waits_until_the_line_after_it() -> None:
    columns, how = Columns(), Multiline("auto")
    assert columns.add(b"a\n b\n", received_ns=NOW, multiline=how) == 0
    assert columns.add(b"a\n b\nc", received_ns=NOW, multiline=how) == 0
    assert columns.add(b"a\n b\nc\n", received_ns=NOW, multiline=how) == 5
    assert columns.add(b"c\n d", received_ns=NOW, multiline=how, flush=True) == 2, (
        "without the unfinished line"
    )
    assert columns.add(b" d", received_ns=NOW, multiline=how, flush=True) == 0
    assert columns.add(b" d", received_ns=NOW, multiline=how, final=True) == 2
    assert messages(columns) == [b"a\n b", b"c", b" d"]


def test_record_of_too_many_lines_is_several() -> None:
    line = b"\tat a.b(C.java:1)\n"
    found = records(b"start\n" + 3 * MAX_RECORD_LINES * line, "java")
    assert [one.count(b"\n") + 1 for one in found] == 3 * [MAX_RECORD_LINES] + [1]


@pytest.mark.parametrize("size", [300_000, MAX_LINE_BYTES - 2, MAX_LINE_BYTES - 1, MAX_LINE_BYTES, 3 << 20])
def test_record_of_too_many_bytes_is_several(size: int) -> None:
    data = b"start\n" + 3 * (b" " + b"x" * size + b"\n") + b"end\n"
    found = records(data)
    assert max(map(len, found)) <= MAX_LINE_BYTES
    assert found[-1] == b"end"
    assert b"".join(found).replace(b"\n", b"") == data.replace(b"\n", b"")
    if size == 300_000:
        assert [one.count(b"x") for one in found] == [900_000, 0]


@pytest.mark.parametrize("text", ["", "java,", "ruby", "start:", "start:(", "start:[", "auto:x"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot"):
        Multiline(text)


def test_formats_without_continuation_refuse_it() -> None:
    for format in ("json", "logfmt"):
        with pytest.raises(ValueError, match="cannot join"):
            Columns().add(b"x\n", received_ns=NOW, multiline=Multiline("auto"), format=format)


PIECES = [
    *TRACES.values(),
    *LINES,
    b"\n",
    b"\r\n",
    b" indented\n",
    b"\tat a.b(C.java:7)\r\n",
    b"Caused by: x\n",
    b"goroutine 5 [idle]:\n",
    b"main.main()\n",
    b"Traceback (most recent call last):\n",
    b"ValueError: x\n",
    b"\xff\0\n",
    b"x" * 5000 + b"\n",
    b"java.lang.Error\n",
    b"{}\n",
    b"\n\n\n",
]
HOWS = st.sampled_from(
    ["auto", "java", "python", "go", "java,go", "start:\\d{4}", "start:x|[a-z]+\\.", "start:.*$"]
)
STREAMS = st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)


@given(STREAMS, st.lists(st.integers(0, 6000), max_size=8), HOWS, st.booleans())
@settings(max_examples=200, deadline=None)
def test_records_do_not_depend_on_when_bytes_come(
    data: bytes, cuts: list[int], how: str, unfinished: bool
) -> None:
    """No time runs out: whatever the cuts, the records are those of the whole stream."""
    data = data[:-1] if unfinished else data
    rules = Multiline(how)
    columns, at = Columns(), 0
    for cut in sorted({min(cut, len(data)) for cut in cuts}):
        if cut > at:
            at += columns.add(data[at:cut], received_ns=NOW, multiline=rules)
    if at < len(data):
        at += columns.add(data[at:], received_ns=NOW, multiline=rules, final=True)
    assert at == len(data)
    again = Columns()
    if data:
        again.add(data, received_ns=NOW, multiline=rules, final=True)
    if not columns.rows:
        assert not again.rows
        return
    assert messages(columns) == messages(again)
    assert columns.templates() == again.templates()


@given(STREAMS, st.lists(st.tuples(st.integers(0, 6000), st.booleans()), max_size=8), HOWS)
@settings(max_examples=200, deadline=None)
def test_no_byte_is_lost_or_doubled_when_time_runs_out(
    data: bytes, cuts: list[tuple[int, bool]], how: str
) -> None:
    rules, columns, at = Multiline(how), Columns(), 0
    for cut, flush in [*sorted((min(cut, len(data)), flush) for cut, flush in cuts), (len(data), True)]:
        if cut > at:
            at += columns.add(data[at:cut], received_ns=NOW, multiline=rules, flush=flush)
    if at < len(data):
        at += columns.add(data[at:], received_ns=NOW, multiline=rules, final=True)
    stored = b"\n".join(messages(columns)) if columns.rows else b""
    assert at == len(data)
    assert not_blank(stored) == not_blank(data)


def not_blank(data: bytes) -> list[bytes]:
    return [line.removesuffix(b"\r") for line in data.split(b"\n") if line.removesuffix(b"\r")]
