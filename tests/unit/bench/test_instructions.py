"""The gate says which source grew, and callgrind's output is read as it is meant."""

from pathlib import Path

import pytest

from bench import instructions, native

DUMP = """
fl=/x/csrc/a.c
ob=/x/tool
fn=f
10 5
+1 7
calls=3 20
12 900
fi=/x/csrc/h.h
13 2
fe=/x/csrc/a.c
14 1
cob=/lib/libc.so
cfi=/libc/m.c
cfn=memchr
calls=1 0
15 100

ob=/lib/libc.so
fl=/libc/m.c
fn=memchr
0 100
"""


def test_what_was_called_counts_where_it_is() -> None:
    found = list(native.self_costs(DUMP.replace("+1", "11").splitlines()))
    assert found == [
        ("/x/tool", "/x/csrc/a.c", 5),
        ("/x/tool", "/x/csrc/a.c", 7),
        ("/x/tool", "/x/csrc/h.h", 2),
        ("/x/tool", "/x/csrc/a.c", 1),
        ("/lib/libc.so", "/libc/m.c", 100),
    ]


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"json": 600, "columns": 400}, None),
        ({"json": 690, "columns": 400}, None),
        ({"json": 600, "columns": 300, "new": 199}, None),
        (
            {"json": 600, "columns": 510},
            "a line of x takes 1,110 instructions, 11% more than 1,000: columns 400 to 510",
        ),
        (
            {"json": 500, "columns": 500, "new": 200},
            "a line of x takes 1,200 instructions, 20% more than 1,000: new 0 to 200, columns 400 to 500",
        ),
    ],
)
def test_more_than_a_tenth_is_said(now: dict[str, int], said: str | None) -> None:
    assert instructions.grown("x", {"json": 600, "columns": 400}, now, 0.10) == said


@pytest.mark.skipif(not native.can_count(), reason="valgrind is not here: make system-packages")
def test_counts_are_of_the_lines_alone(tmp_path: Path) -> None:
    lines, twice = tmp_path / "lines", tmp_path / "twice"
    lines.write_bytes(b"2026-11-22 11:00:00 INFO took 5 ms\n" * 100)
    twice.write_bytes(lines.read_bytes() * 2)
    one, two, again = native.measure("scalar", "lex", [lines, twice, lines])
    assert 1.9 < two.ours / one.ours < 2.1
    assert one.files == again.files
    assert {"template", "classes", "timestamp"} <= set(one.files)
