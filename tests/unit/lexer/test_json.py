"""JSON: each class of RFC 8259 is judged as it says, and fields are what the standard library reads.

The one deviation from the RFC, on purpose: bytes past 0x7f pass in strings whether or not they are UTF-8.
"""

import json
import re
from collections.abc import Iterator
from json.decoder import JSONDecoder, scanstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lexer
from tests.unit.lexer import json_cases
from tests.unit.lexer.json_cases import INVALID, NO_UTF8, VALID

NOW = 1_780_000_000 * 10**9
LONGEST_KEY = 512


def valid(text: bytes) -> bool:
    return lexer.Columns().json_valid(text)


def as_python_says(text: bytes) -> bool:
    """Strict: no NaN, any number of digits. Bytes are taken for Latin-1: any of them pass in a string."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        json.loads(text.decode("latin-1"), parse_constant=refuse, parse_int=str)
    except ValueError:
        return False
    return True


# ---- validity ----


@pytest.mark.parametrize("name", VALID)
def test_valid_classes(name: str) -> None:
    assert [text for text in VALID[name] if not valid(text)] == []


@pytest.mark.parametrize("name", INVALID)
def test_invalid_classes(name: str) -> None:
    assert [text for text in INVALID[name] if valid(text)] == []


def test_the_classes_are_right_in_the_eyes_of_another_parser() -> None:
    assert [t for texts in VALID.values() for t in texts if not as_python_says(t)] == []
    wrong = [t for name, texts in INVALID.items() for t in texts if "limit" not in name and as_python_says(t)]
    assert wrong == []
    assert sum(map(len, VALID.values())) >= 300
    assert sum(map(len, INVALID.values())) >= 1000


def test_the_limit_of_depth_is_the_stated_one() -> None:
    assert lexer.JSON_DEPTH == json_cases.DEPTH


def test_bytes_that_are_no_utf8_pass_in_strings_only() -> None:
    for data in NO_UTF8:
        for around in (b"", b"x" * 15):
            assert valid(b'"' + around + data + around + b'"')
            assert lexer.Columns().fields(b'{"k' + data + b'":"' + around + data + b'"}') == [
                (b"k" + data, around + data)
            ]
        assert not valid(data)
        assert not valid(b"[" + data + b"]")


def test_every_text_cut_anywhere_is_judged_as_the_standard_library_judges() -> None:
    texts = [t for texts in VALID.values() for t in texts if len(t) < 200]
    cut = {t[:n] for t in texts for n in range(len(t))}
    assert [t for t in cut if valid(t) != as_python_says(t)] == []


def test_lines_are_judged_as_texts_are() -> None:
    """Whatever is one object is taken apart; all else is kept whole as text and counted."""
    texts = [t for table in (VALID, INVALID) for texts in table.values() for t in texts]
    texts = [t for t in texts if b"\n" not in t and t not in (b"", b"\r") and len(t) < 4000]
    for text in texts:
        columns = lexer.Columns()
        columns.add(text + b"\n", received_ns=NOW, format="json")
        is_object = valid(text) and text.lstrip(b" \t\r").startswith(b"{")
        assert columns.rows == 1, text
        assert columns.counts["malformed_json"] == (not is_object), text
        if not is_object:
            assert text.removesuffix(b"\r") in b"".join(columns.chunks()), text


# ---- fields, from texts with every freedom that JSON gives ----

HEX = st.text("0123456789abcdefABCDEF", min_size=4, max_size=4)
ESCAPES = st.sampled_from(["\\" + c for c in '"\\/bfnrt']) | HEX.map("\\u{}".format)
PAIRS = st.tuples(st.integers(0xD800, 0xDBFF), st.integers(0xDC00, 0xDFFF)).map(
    lambda p: f"\\u{p[0]:04x}\\u{p[1]:04X}"
)
HALVES = st.integers(0xD800, 0xDFFF).map("\\u{:04x}".format)
PLAIN = st.text(
    st.characters(min_codepoint=0x20, exclude_characters='"\\', exclude_categories=["Cs"]), max_size=20
)
STRINGS = st.lists(PLAIN | ESCAPES | PAIRS | HALVES, max_size=5).map(lambda parts: '"' + "".join(parts) + '"')
NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
SCALARS = STRINGS | NUMBERS | st.sampled_from(["true", "false", "null"])
SPACES = st.text(" \t\r\n", max_size=2)
NAMES = [
    "a",
    "b",
    "",
    "tags",
    "tags",
    "level",
    "msg",
    "service",
    "name",
    "x.y",
    "ts",
    "\\u0061",
    "t\\u0061gs",
    "host",
]
KEYS = st.sampled_from(NAMES).map('"{}"'.format) | STRINGS


@st.composite
def collections(draw: st.DrawFn, inner: st.SearchStrategy[str], brackets: str) -> str:
    members = []
    for _ in range(draw(st.integers(0, 4))):
        name = draw(SPACES) + draw(KEYS) + draw(SPACES) + ":" if brackets == "{}" else ""
        members.append(name + draw(SPACES) + draw(inner) + draw(SPACES))
    return brackets[0] + (",".join(members) or draw(SPACES)) + brackets[1]


VALUES = st.recursive(
    SCALARS, lambda inner: collections(inner, "[]") | collections(inner, "{}"), max_leaves=12
)
OBJECTS = collections(VALUES, "{}")

ROLES = {
    "timestamp", "@timestamp", "ts", "time", "datetime", "level", "severity", "lvl", "log.level",
    "loglevel",
    "severity_text", "message", "msg", "body", "log", "service", "service.name", "service_name", "app",
    "host",
    "hostname", "host.name", "trace_id", "traceId", "trace.id", "traceid", "span_id", "spanId", "span.id",
    "spanid",
}  # fmt: skip


def after_space(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def leaves(text: str, at: int, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str, int]]:
    """(names, value, where it ended) of each member that is no object; last, ((), "", end) of the object at `at`."""
    start, at = at, after_space(text, at + 1)
    if text[at] == "}" and path:
        yield path, text[start : at + 1], at + 1
    while text[at] != "}":
        name, at = scanstring(text, after_space(text, at) + 1)
        at = after_space(text, after_space(text, at) + 1)
        inner = (*path, name)
        if text[at] == "{":
            for leaf in leaves(text, at, inner):
                at = leaf[2]
                if leaf[0]:
                    yield leaf
        else:
            value, end = JSONDecoder(parse_int=str).raw_decode(text, at)
            yield inner, value if isinstance(value, str) and text[at] == '"' else text[at:end], end
            at = end
        at = after_space(text, at)
        at = after_space(text, at + 1) if text[at] == "," else at
    yield (), "", at + 1


def flattened(text: str) -> dict[bytes, bytes] | None:
    """The rule in Python: the last of equal keys holds; `tags` is no prefix unless the name has a meaning without."""
    found = {}
    for path, value, _ in leaves(text, after_space(text, 0), ()):
        if not path:
            continue
        bare = ".".join(path[1:])
        key = bare if path[0] == "tags" and len(path) > 1 and bare not in ROLES else ".".join(path)
        found[encoded(key)] = encoded(value)
    return None if any(len(key) > LONGEST_KEY for key in found) else found


def encoded(text: str) -> bytes:
    """UTF-8; half a surrogate pair has none and becomes U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text).encode()


@given(OBJECTS, SPACES, SPACES)
def test_fields_are_what_the_standard_library_reads(text: str, before: str, behind: str) -> None:
    found = lexer.Columns().fields((before + text + behind).encode())
    expected = flattened(before + text)
    assert (found if found is None else list(found)) == (
        expected if expected is None else list(expected.items())
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a":1,"a":2}', {"a": "2"}),
        ('{"a":{"b":1},"a.b":2}', {"a.b": "2"}),
        ('{"a":{"b":1},"a":2}', {"a.b": "1", "a": "2"}),
        ('{"a":[1, {"b" :2}]}', {"a": '[1, {"b" :2}]'}),
        ('{"a":{},"b":{ }}', {"a": "{}", "b": "{ }"}),
        (
            '{"a":1.50,"b":-0,"c":1E5,"d":true,"e":null}',
            {"a": "1.50", "b": "-0", "c": "1E5", "d": "true", "e": "null"},
        ),
        ('{"a":"\\ud834\\udd1e\\ud834x"}', {"a": "\U0001d11e\ufffdx"}),
        (
            '{"tags":{"a":1,"level":"x","service":{"name":"y"}}}',
            {"a": "1", "tags.level": "x", "tags.service.name": "y"},
        ),
        ('{"tags":1}', {"tags": "1"}),
        ('{"tags":[{"a":1}]}', {"tags": '[{"a":1}]'}),
        ('{"a":{"tags":{"b":1}}}', {"a.tags.b": "1"}),
        ('{"tags":{"tags":{"a":1}}}', {"tags.a": "1"}),
        ('{"tags":{"a":1},"a":2}', {"a": "2"}),
        ("{}", {}),
    ],
)
def test_rules_of_fields(text: str, expected: dict[str, str]) -> None:
    found = lexer.Columns().fields(text.encode())
    assert found is not None
    assert {k.decode(): v.decode() for k, v in found} == expected
    assert flattened(text) == {k.encode(): v.encode() for k, v in expected.items()}


# ---- validity, near what is valid ----

PIECES = [bytes([c]) for c in b'{}[]:,"\\ \t\n\r0123456789.-+eEtrufalsn/\0\x1f\x7f\x80\xff'] + [
    b"null", b"true", b"\\u", b"\\ud800", b'""', b"[]", b"{}", b'"a":', b"1e", b"NaN", b"-Infinity",
    b"\xef\xbb\xbf", b"//", b"'",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    text = draw(VALUES).encode()
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 4)))
        text = text[:at] + draw(st.sampled_from([b"", text[at:end] * 2, *PIECES])) + text[end:]
    return text


@given(mutated())
def test_what_is_nearly_json_is_judged_as_the_standard_library_judges(text: bytes) -> None:
    assert valid(text) is as_python_says(text)
