"""`unpack json` and `unpack logfmt`: the SQL that takes a text apart when it is asked about, as the lexer does when it
is stored: nested objects become dotted names, arrays stay one text, escapes are decoded.

A text is prepared once for each event; a field is then taken out of what was prepared. What cannot be read has no
fields. ClickHouse reads JSON itself and writes numbers its own way: `1.50` is `1.5`.
"""

from __future__ import annotations

from itertools import pairwise

from query.sql import Params

MAX_DEPTH = 16  # of nested objects; what lies deeper is not looked at
MAX_DOTS = 5  # of a name: every dot may be a step into an object or part of a key

# A key, then what is between quotes, or else what stands up to the next space.
LOGFMT = (
    r"(?:^|[ \t\r\n])([A-Za-z_@\x{80}-\x{10FFFF}][A-Za-z0-9_.@/\x{80}-\x{10FFFF}-]*)="
    r'(?:"((?:[^"\\\x00\n]|\\[^\x00\n])*)"|([^\s"=][^\s"]*)|)'
)


def json_sql(text: str) -> str:
    """What is kept of a text that may be JSON: itself where it is an object, else ''."""
    return f"if(startsWith(trimLeft({text}), '{{'), {text}, '')"


def json_field(prepared: str, name: str, params: Params) -> str:
    """The value of a field; '' where there is none."""
    values = []
    for path in _paths(name):
        keys = ", ".join(params.add(key) for key in path)
        values.append(_scalar(f"JSONExtractRaw({prepared}, {keys})"))
    return _first_of(values)


def json_map(prepared: str) -> str:
    """All fields, as a map."""
    inner = "arrayMap(m -> (concat(kv.1, '.', m.1), m.2), JSONExtractKeysAndValuesRaw(kv.2))"
    opened = f"arrayFlatten(arrayMap(kv -> if({_is_object('kv.2')}, {inner}, [kv]), fields))"
    all_ = (
        f"arrayFold((fields, _) -> {opened}, range({MAX_DEPTH - 1}), JSONExtractKeysAndValuesRaw({prepared}))"
    )
    pairs = f"arrayFilter(kv -> kv.2 != '', arrayMap(kv -> (kv.1, {_scalar('kv.2')}), {all_}))"
    return f"CAST({pairs}, 'Map(String, String)')"


def logfmt_sql(text: str) -> str:
    """The map of a text's `key=value` pairs."""
    valid = f"if(isValidUTF8({text}), {text}, toValidUTF8({text}))"
    # Of a key that comes twice the last value holds, also where that is empty.
    found = f"arrayReverse(extractAllGroupsVertical({valid}, {_literal(LOGFMT)}))"
    pairs = f"arrayFilter((p, nth) -> nth = 1, {found}, arrayEnumerateUniq(arrayMap(p -> p[1], {found})))"
    each = f"arrayMap(p -> (p[1], if(p[2] != '', {_unescaped('p[2]')}, p[3])), {pairs})"
    return f"CAST(arrayFilter(kv -> kv.2 != '', {each}), 'Map(String, String)')"


def _paths(name: str) -> list[list[str]]:
    """The ways to read a dotted name: `a.b` is a member of `a`, or the key "a.b"."""
    words = name.split(".")
    if len(words) - 1 > MAX_DOTS:
        return [words, [name]]
    paths = []
    for cuts in range(1 << (len(words) - 1)):
        at = [0, *(i for i in range(1, len(words)) if not cuts >> (i - 1) & 1), len(words)]
        paths.append([".".join(words[low:high]) for low, high in pairwise(at)])
    return paths


def _scalar(raw: str) -> str:
    """A member as a field's text; '' for an object, whose members are fields of their own."""
    return f"multiIf(startsWith({raw}, '\"'), JSONExtractString({raw}), {_is_object(raw)}, '', {raw})"


def _is_object(raw: str) -> str:
    return f"startsWith({raw}, '{{') AND {raw} != '{{}}'"


def _first_of(values: list[str]) -> str:
    *others, last = values
    return (
        f"multiIf({', '.join(f'{value} != {chr(39) * 2}, {value}' for value in others)}, {last})"
        if others
        else last
    )


def _unescaped(text: str) -> str:
    """A backslash gives the character behind it; \\n, \\t and \\r what they name. No NUL is in the text."""
    steps = [("'\\\\\\\\'", "'\\0'"), ("'\\\\n'", "'\\n'"), ("'\\\\t'", "'\\t'"), ("'\\\\r'", "'\\r'")]
    steps += [("'\\\\'", "''"), ("'\\0'", "'\\\\'")]
    for found, put in steps:
        text = f"replaceAll({text}, {found}, {put})"
    return text


def _literal(pattern: str) -> str:
    return "'" + pattern.replace("\\", "\\\\") + "'"
