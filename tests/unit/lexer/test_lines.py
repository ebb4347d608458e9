"""What the lexer makes of a line: template, time, level, pairs; the same wherever the line lies."""

import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lexer

NOW = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()) * 10**9


def at(
    year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0, nanos: int = 0
) -> int:
    return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()) * 10**9 + nanos


def lexed(line: bytes) -> lexer.Lexer:
    found = lexer.Lexer()
    found.lex(line, NOW)
    return found


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        (b"2015-10-18 18:01:47,978 INFO x", at(2015, 10, 18, 18, 1, 47, 978_000_000)),
        (b"2026-11-22T11:00:00.123456789Z x", at(2026, 11, 22, 11, 0, 0, 123_456_789)),
        (b"2026-11-22T11:00:00+02:00 x", at(2026, 11, 22, 9)),
        (b"2026-11-22 11:00:00 -0530 x", at(2026, 11, 22, 16, 30)),
        (b"2026-11-22T11:00+02:00 x", at(2026, 11, 22, 9)),
        (b"2026-11-22 11:00 -0330", at(2026, 11, 22, 14, 30)),
        (b"2026-11-22 11:00:00.5+02 x", at(2026, 11, 22, 9, 0, 0, 500_000_000)),
        (b"[2026-11-22 11:00:00-05]", at(2026, 11, 22, 16)),
        (b"2026-11-22 11:00:00-05/7", at(2026, 11, 22, 11)),
        (b"2026-11-22 11:00:00+99:99 x", at(2026, 11, 22, 11)),
        (b"2026-11-22 11:00:00 Zoom", at(2026, 11, 22, 11)),
        (b"2026-11-22 11:00:00 Z3 x", at(2026, 11, 22, 11)),
        (b"2026-11-22 11:00:00 UTC+01:00 x", at(2026, 11, 22, 10)),
        (b"Sun Nov 22 2026 11:00:00 GMT+0200 (Eastern European Standard Time)", at(2026, 11, 22, 9)),
        (b"Sat Nov 22 11:00:00 -0700 2025", at(2025, 11, 22, 18)),
        (b"22/Nov/2026:11:00:00 +0000]", at(2026, 11, 22, 11)),
        (b"Nov 22 11:07:01 host app[1]: x", at(2026, 11, 22, 11, 7, 1)),
        (b"<34>Nov 22 11:07:01 host app[1]: x", at(2026, 11, 22, 11, 7, 1)),
        (b"Dec 31 23:59:59 host x", at(2025, 12, 31, 23, 59, 59)),
        (b"Nov 23 11:00:00 host x", at(2026, 11, 23, 11)),
        (b"Nov 24 11:00:00 host x", at(2025, 11, 24, 11)),
        (b"Feb 29 00:00:00 host x", at(2024, 2, 29)),
        (b"[Sun Dec 04 04:47:44 2005] [error] x", at(2005, 12, 4, 4, 47, 44)),
        (b'10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /"', at(2000, 10, 10, 20, 55, 36)),
        (b"1117838570 2005.06.03 x", 1117838570 * 10**9),
        (b"1117838570.5 x", 1117838570 * 10**9 + 500_000_000),
        (b"1700000000123 x", 1700000000123 * 10**6),
        (b"1700000000123456 x", 1700000000123456 * 10**3),
        (b"1700000000123456789 x", 1700000000123456789),
        (b"9223372036.999999999 x", None),
        (b"17/06/09 20:10:40 INFO x", at(2017, 6, 9, 20, 10, 40)),
        (b"20171223-22:15:29:606|Step", at(2017, 12, 23, 22, 15, 29, 606_000_000)),
        (b"20171224-0:3:5:9|Step", at(2017, 12, 24, 0, 3, 5, 900_000_000)),
        (b"03-17 16:13:38.811  1702  2395 D x", at(2026, 3, 17, 16, 13, 38, 811_000_000)),
        (b"2005-06-03-15.42.50.675872 x", at(2005, 6, 3, 15, 42, 50, 675_872_000)),
        (b"081109 203615 148 INFO x", at(2008, 11, 9, 20, 36, 15)),
        (b"06/09/2017 08:10:40 PM x", at(2017, 6, 9, 20, 10, 40)),
        (b"I1122 11:00:00.5 1 a.cc:1] x", at(2026, 11, 22, 11, 0, 0, 500_000_000)),
        (b"2023-02-29 11:00:00 x", None),
        (b"2023-13-01 11:00:00 x", None),
        (b"call 1234567 now", None),
        (b"no time at all", None),
        (b"", None),
    ],
)
def test_timestamps(text: bytes, ns: int | None) -> None:
    assert lexed(text).timestamp == ns


def test_a_word_behind_a_time_keeps_its_letters() -> None:
    assert lexed(b"2026-11-22 11:00:00 Zoom in").template == lexed(
        b"2026-11-22 11:00:00 room in"
    ).template.replace(b"room", b"Zoom")
    assert lexer.timestamp(b"2026-11-22T11:00:00Zx", NOW) == (at(2026, 11, 22, 11), 19)


@given(st.datetimes(datetime(1990, 1, 2), datetime(2026, 11, 22)), st.integers(-14 * 60, 14 * 60))
def test_any_rfc3339_time_is_read(moment: datetime, offset: int) -> None:
    zone = f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02d}:{abs(offset) % 60:02d}"
    expected = (moment - timedelta(minutes=offset)).replace(tzinfo=UTC)
    ns = (expected - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    text = moment.isoformat(timespec="microseconds") + zone
    assert lexer.timestamp(text.encode(), NOW) == (ns, len(text))


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (b"2026-11-22 11:00:00 ERROR x", "error"),
        (b"2026-11-22 11:00:00,123 [main] WARN com.x: y", "warn"),
        (b"[Sun Dec 04 04:47:44 2005] [error] x", "error"),
        (b"2016-09-28 04:30:30, Info                  CBS    x", "info"),
        (b"03-17 16:13:38.811  1702  2395 D Tag: x", "debug"),
        (b"level=warning msg=x", "warn"),
        (b"an error of information in prose", ""),
        (b"Warning: x", "warn"),
        (b"FATAL x", "fatal"),
    ],
)
def test_levels(line: bytes, level: str) -> None:
    columns = lexer.Columns()
    columns.add(line + b"\n", received_ns=NOW)
    column = b"".join(columns.chunks()).partition(b"level")[2].partition(b"service")[0]
    names = ("trace", "debug", "info", "notice", "warn", "error", "critical", "fatal")
    assert [name for name in names if name.encode() in column] == ([level] if level else [])


@pytest.mark.parametrize(
    ("line", "template"),
    [
        (b"took 5 ms for 10.0.0.1:80", b"took <*> for <*>"),
        (b"user bob logged in", b"user bob logged in"),
        (b"id 6f9619ff-8b86-d011-b42d-00c04fc964ff done", b"id <*> done"),
        (b"open /var/log/syslog failed", b"open <*> failed"),
        (b"GET http://x.example.com/a/b?c=1 ok", b"GET <*> ok"),
        (b"mail from a.b@example.com now", b"mail from <*> now"),
        (b"mac 00:0b:db:a4:5e:11 up", b"mac <*> up"),
        (b"addr fe80::1ff:fe23:4567:890a up", b"addr <*> up"),
        (b'name="a b c" next', b'name="<*>" next'),
        (b"key=word, other", b"key=<*>, other"),
        (b"ws=Work{a,b}, other", b"ws=<*>, other"),
        (b"(a=Work[b(c)]) other", b"(a=<*>) other"),
        (b"a=Work{b c", b"a=<*> c"),
        (b"list 1, 2, 3 end", b"list <*> end"),
        (b"interface eth0 and ssh2", b"interface eth0 and ssh2"),
        (b"read and/or write", b"read and/or write"),
        (b"C:\\Windows\\x.dll gone", b"<*> gone"),
        (b"0xdeadbeef", b"<*>"),
        (b"5 small", b"<*> small"),
        ("naïve café 7".encode(), "naïve café <*>".encode()),
    ],
)
def test_templates(line: bytes, template: bytes) -> None:
    assert lexer.template(line) == template


def test_pairs() -> None:
    assert lexed(b'a=1 b="x y" c.d=e, f=').pairs == [(b"a", b"1"), (b"b", b"x y"), (b"c.d", b"e")]


@pytest.fixture
def restore() -> Iterator[None]:
    yield
    lexer.choose_simd("auto")


@given(st.binary(max_size=600))
def test_every_way_to_classify_bytes_gives_the_same(data: bytes) -> None:
    line = data.replace(b"\n", b" ")
    found = []
    for way in lexer.simd_ways():
        lexer.choose_simd(way)
        one = lexed(line)
        found.append((one.fingerprint, one.template, one.spans, one.level, one.timestamp, one.pairs))
    lexer.choose_simd("auto")
    assert all(other == found[0] for other in found)


def lines() -> list[bytes]:
    pick = random.Random(7)
    words = [
        b"error",
        b"10.0.0.1",
        b"x=1",
        b"/a/b",
        b"job",
        b"4f",
        b"2026-11-22T10:00:00Z",
        b"'q'",
        b"[7]",
        b"\xff",
    ]
    return [b" ".join(pick.choices(words, k=pick.randrange(1, 60))) for _ in range(500)]


def test_a_fingerprint_does_not_depend_on_where_the_line_lies() -> None:
    alone = sum(lexer.fingerprint(line) for line in lines()) % 2**64
    for seed in range(3):
        shuffled = lines()
        random.Random(seed).shuffle(shuffled)
        data = b"\n".join(shuffled) + b"\n" + b"\n" * lexer._lexer.PADDING_BYTES
        assert lexer._lexer.lex_all(data) == (500, alone)


@pytest.mark.parametrize("token", [b"10.0.0.1:8080", b"/var/log/syslog", b"k=value", b"12 ms", b"a:b:c:d::1"])
def test_what_lies_past_the_look_does_not_matter(token: bytes) -> None:
    for cut in range(1, len(token)):
        head = b"w" * (lexer.LOOK_BYTES - cut - 1) + b" " + token[:cut]
        assert lexed(head + token[cut:] + b" more").spans == lexed(head).spans
        assert lexer.fingerprint(head + token[cut:]) == lexer.fingerprint(head)


def test_a_fingerprint_is_the_same_in_another_process() -> None:
    line = b"2026-11-22 10:00:00 INFO job 7 took 12 ms at /var/run/x"
    code = f"import lexer; print(lexer.fingerprint({line!r}))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert int(said) == lexer.fingerprint(line)
