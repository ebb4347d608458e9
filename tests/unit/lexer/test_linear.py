"""No input makes the lexer slower than linear: instructions are counted, the clock is not asked.

Each shape is made at two or three sizes. A quadratic step anywhere takes four times the instructions for twice the
bytes; what is allowed is 2.3 times, and a bound on the instructions a byte.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import log2
from pathlib import Path

import pytest

from bench import native

PER_DOUBLING = 2.3
PER_BYTE = 1000  # of lines of two bytes: a row has its price

Shape = Callable[[int], bytes]


def repeated(unit: bytes, start: bytes = b"", end: bytes = b"") -> Shape:
    return lambda n: start + (unit * (n // len(unit) + 1))[: n - len(start) - len(end)] + end


UNITS = [
    b"1", b".", b"/", b"\\", b":", b"=", b'"', b"'", b"@", b"-", b"#", b"(", b"[", b"{", b"<", b"|", b" ",
    b",", b"a", b"\xc3\xa9",
    b"\xff", b"\0", b"a.", b"a:", b"a@", b"a/", b"a\\", b"a=", b"1.", b"1:", b"1,", b"1=", b"1 ", b"1-",
    b"@=", b"@!", b"a@=", b"!/",
    b"::", b"//", b"\\\\", b"./", b"-.", b".-1", b"]=", b")=1", b'a="', b"a='", b"a=\"b ", b"='\"",
    b"a=b,", b"a=1&", b"a==",
    b"'\\", b'"\\', b'=\\"', b"a.com", b"a.b:", b"com.", b"x1.io ", b"ab:cd:", b"f::", b"1:2::", b"fe80:",
    b"1.2.3.4:", b"1.2.3.",
    b"a@b.", b"a.b@", b"http://", b"//a:", b"//a?", b"/a?", b"C:\\", b"\\a", b"/!", b"a/!", b"a!/", b"~/",
    b"..", b"0x", b"deadbeef",
    b"#f", b"6f9619ff-8b86-", b"00:0b:db:", b"2026-", b"2026-11-22T", b"2026-11-22 11:00:00.",
    b"2026-11-22T11:00 ", b"20261122",
    b"Nov 2", b"Nov 22 11:07:", b"Mon, ", b"10/Oct/", b"17/06/09 20:10:4 ", b"081109 203615", b"<34>",
    b"[[", b"I1122 ", b"error",
    b"[error", b"E ", b"info:", b"5 m", b"5 ms", b"1e", b"1_", b"a1", b"a1b",
]  # fmt: skip
# At the start of a line, where a time is looked for, and at its end, where something may be closed.
TEXT = (
    {repr(unit): repeated(unit) for unit in UNITS}
    | {f"time, then {unit!r}": repeated(unit, b"2026-11-22 11:00:00.") for unit in (b"1", b"1.", b"+1", b" ")}
    | {
        f"{start!r}, then {unit!r}": repeated(unit, start)
        for start in (b'a="', b"a='", b"a=b")
        for unit in (b"\\", b"\\'", b"a=", b"a='", b"(", b"(a", b"[)")
    }
)


def fewer(make: Shape) -> Shape:
    """A row has its price, and so has counting it: of the shortest lines a fifth will do."""
    return lambda n: make(n // 5)


def many_keys(name: str) -> Shape:
    def make(n: int) -> bytes:
        return b"{" + b",".join((name % i).encode() for i in range(n // (len(name) + 2))) + b"}"

    return make


def in_a_long_name(inner: bytes) -> Shape:
    """Members of an object whose own name is half of the line."""
    return lambda n: (
        b'{"' + b"k" * (n // 2) + b'":{' + b",".join([inner] * (n // 2 // (len(inner) + 1))) + b"}}"
    )


def below_long_names(n: int) -> bytes:
    names = 100
    start = b"".join(b'{"' + b"k" * (n // 2 // names) + b'":' for _ in range(names))
    return start + b"{" + b'"a":1,' * (n // 12) + b'"a":1}' + b"}" * names


def colliding(keys: int) -> Callable[[int], bytes]:
    """Lines of keys that had one hash: their first eight bytes zero a product in it whatever follows."""

    def make(n: int) -> bytes:
        names = (f"\\u0003\xed\x92\xd12J\xb5\xd1{i:08d}".encode("latin-1") for i in range(n // 28))
        members = [b'"' + name + b'":1' for name in names]
        return b"".join(
            b"{" + b",".join(members[i : i + keys]) + b"}\n" for i in range(0, len(members), keys)
        )

    return make


JSON: dict[str, Shape] = {
    "unclosed arrays": repeated(b"[", b'{"a":'),
    "unclosed objects": repeated(b'{"a":'),
    "array of numbers": repeated(b"1,", b'{"a":[', b"1]}"),
    "array of arrays": repeated(b"[],", b'{"a":[', b"[]]}"),
    "array of objects": repeated(b'{"a":1},', b'{"a":[', b'{"a":1}]}'),
    "one number": repeated(b"1", b'{"a":', b"}"),
    "one string": repeated(b"x", b'{"a":"', b'"}'),
    "one name": repeated(b"x", b'{"', b'":1}'),
    "unterminated string": repeated(b"x", b'{"a":"'),
    "white space": repeated(b" ", b"{", b"}"),
    "white space behind": repeated(b" ", b"{}"),
    "lines of white space": fewer(repeated(b" \n")),
    "empty objects": fewer(repeated(b"{}\n")),
    "backslashes": repeated(b"\\\\", b'{"a":"', b'"}'),
    "quotes": repeated(b'\\"', b'{"a":"'),
    "escapes": repeated(b"\\u0041", b'{"a":"'),
    "halves of pairs": repeated(b"\\ud800", b'{"a":"'),
    "escapes between letters": repeated(b"abcdefgh\\n", b'{"a":"', b'"}'),
    "control characters": repeated(b"\x01", b'{"a":"'),
    "one key, again and again": repeated(b'"a":1,', b"{", b'"a":1}'),
    "tags": repeated(b'"a":1,', b'{"tags":{', b'"a":1}}'),
    "objects of tags": repeated(b'"tags":{},', b"{", b'"tags":{}}'),
    "many keys": many_keys('"%06d":1'),
    "lines of new keys": fewer(lambda n: b"".join(b'{"a%06d":1}\n' % i for i in range(n // 15))),
    "empty names": repeated(b'"":{', b"{"),
    "short names below a long one": in_a_long_name(b'"a":1'),
    "objects below a long name": in_a_long_name(b'"a":{"b":1}'),
    "short names below the longest one": lambda n: (
        b'{"%s":{' % (b"k" * 510) + b'"a":1,' * (n // 6) + b'"a":1}}'
    ),
    "names below a hundred long ones": below_long_names,
    "keys that collide in one line": colliding(1000),
    "keys that collide in many lines": colliding(20),
    "services without end": lambda n: b"".join(b'{"app":"a%06d"}\n' % i for i in range(n // 18)),
    "shapes without end": lambda n: b"".join(b'{"msg":"%s"}\n' % letters(i) for i in range(n // 20)),
}
LOGFMT: dict[str, Shape] = {
    "unterminated quotes": repeated(b'a="'),
    "quotes without a space": repeated(b'a="b"'),
    "an unterminated quote": repeated(b"b ", b'a="'),
    "backslashes": repeated(b"\\", b'a="'),
    "escaped quotes": repeated(b'\\"', b'a="', b'"'),
    "equals": repeated(b"="),
    "equals behind a key": repeated(b"=", b"a"),
    "one key": repeated(b"a"),
    "one key without a value": repeated(b"a", b"", b"="),
    "flags": repeated(b"a "),
    "one key, again and again": repeated(b"a=1 "),
    "quotes within values": repeated(b'a=b"c" '),
    "spaces": repeated(b" ", b"a=1"),
    "many keys": lambda n: b" ".join(b"a%06d=1" % i for i in range(n // 10)),
    "lines of new keys": fewer(lambda n: b"".join(b"a%06d=1\n" % i for i in range(n // 10))),
}
VALID: dict[str, Shape] = {
    repr(unit): repeated(unit)
    for unit in (
        b"[",
        b"{",
        b'{"a":',
        b"[1,",
        b"1",
        b" ",
        b"\n",
        b'"',
        b'"\\',
        b'"\\u',
        b"-",
        b"1e",
        b"t",
        b"\xff",
    )
} | {"array": repeated(b"1,", b"[", b"1]"), "lines in an array": repeated(b"1\n,", b"[", b"\n1]")}


def letters(i: int) -> bytes:
    return f"{i:07d}".translate(str.maketrans("0123456789", "ghijklmnop")).encode()


def worse(files: list[list[Path]], mode: str) -> Iterator[str]:
    """What is above a bound: the shape, instructions a byte, and how they grew."""
    flat = [path for paths in files for path in paths]
    counts = dict(zip(flat, native.measure("baseline", mode, flat), strict=True))
    for paths in files:
        costs = [(path.stat().st_size, counts[path].total) for path in paths]
        per_byte = [cost / size for size, cost in costs]
        growth = [(d / b) ** (1 / log2(c / a)) for (a, b), (c, d) in pairwise(costs)]
        if max(growth) > PER_DOUBLING or max(per_byte) > PER_BYTE:
            name = paths[0].with_suffix(".name").read_text()
            yield f"{name}: {' '.join(f'{x:.0f}' for x in per_byte)} a byte, {' '.join(f'{x:.2f}' for x in growth)}"


def write(folder: Path, shapes: dict[str, Shape], sizes: list[int], lines: int = 1) -> list[list[Path]]:
    found = []
    for number, (name, make) in enumerate(shapes.items()):
        (folder / f"{number}-0.name").write_text(name)
        paths = [folder / f"{number}-{i}" for i in range(len(sizes))]
        for path, size in zip(paths, sizes, strict=True):
            path.write_bytes((make(size) + b"\n") * lines)
        found.append(paths)
    return found


pytestmark = pytest.mark.skipif(not native.can_count(), reason="valgrind is not here: make system-packages")


def test_text_up_to_the_look(tmp_path: Path) -> None:
    files = write(tmp_path, TEXT, [1020, 2040, 4080], lines=4)
    assert list(worse(files, "lex")) == []


@pytest.mark.parametrize(
    ("mode", "shapes"),
    [("text", TEXT), ("json", JSON), ("logfmt", LOGFMT), ("valid", VALID)],
    ids=["text", "json", "logfmt", "valid"],
)
def test_lines_up_to_a_megabyte(tmp_path: Path, mode: str, shapes: dict[str, Shape]) -> None:
    files = write(tmp_path, shapes, [250_000, 1_000_000])
    assert list(worse(files, mode)) == []
