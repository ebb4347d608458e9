"""What the parser stumbled over → a message that a person understands, with the place and a caret."""

from __future__ import annotations

import re

from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from query.errors import LANGUAGE, QueryInvalid, invalid_at

PIPES = "stats, top, rare, uniq, where, sort, fields, limit, patterns, histogram, extract, unpack"
# Terminal → what a person calls it. The first that the grammar allows at the place names what was expected.
EXPECTED = {
    "WORD": "a search term",
    "VALUE": "a value",
    "WHERE_VALUE": "a value",
    "RVALUE": "a value or *",
    "_TO": "TO (a range is written [low TO high])",
    "RRANGE": "] or } to close the range",
    "STATS": "a pipe",
    "NAME": "a name",
    "COMPARE": "a comparison such as > 10",
    "INT": "a whole number",
    "DURATION": "a duration such as 5m",
    "FORMAT": "json or logfmt",
    "STRING": "quoted text",
    "_LPAR": "'('",
    "_RPAR": "')'",
    "_PIPE": "'|' or the end of the query",
}
TERM_RUN = re.compile(r"""[^\s"'()|:][^\s"()|:]*+""")
QUOTED = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""", re.DOTALL)
NO_SPACE = "expected a space between text and quote"
ESCAPED = r"write \" for a quote in quoted text"
AS_FIELD = 'a field is written name:"value"'
LOGQL = f"{AS_FIELD}; LogQL is for Loki's own paths, see docs/coming-from.md"
AS_TEXT = "to find it as text, put it in quotes"


def complaint(text: str, error: UnexpectedInput) -> QueryInvalid:
    """The error to raise for what lark reports."""
    offset = error.pos_in_stream if isinstance(error.pos_in_stream, int) else len(text)
    allowed = _allowed(error)
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        offset = len(text)
    if offset >= len(text.rstrip()):
        return _at_end(text, allowed)
    return _at_character(text, offset, allowed)


def _allowed(error: UnexpectedInput) -> set[str]:
    if isinstance(error, UnexpectedToken):
        return set(error.accepts or error.expected)
    return set(error.allowed or ()) if isinstance(error, UnexpectedCharacters) else set()


def _expected(allowed: set[str]) -> str:
    return next((said for terminal, said in EXPECTED.items() if terminal in allowed), "something else")


def _at_end(text: str, allowed: set[str]) -> QueryInvalid:
    end = len(text.rstrip())
    if "_PIPE" not in allowed and "_RPAR" in allowed:
        opened = _unclosed(text)
        line, column = text[:opened].count("\n") + 1, opened - text.rfind("\n", 0, opened)
        return invalid_at(text, end, "expected ')'", f"the '(' at line {line}, column {column} is not closed")
    return invalid_at(
        text, end, f"expected {_expected(allowed)}{_after(text, end)}", _hint(allowed) or LANGUAGE
    )


def _unclosed(text: str) -> int:
    """The offset of the innermost '(' that nothing closes."""
    stack = [0]
    position = 0
    while position < len(text):
        quoted = QUOTED.match(text, position)
        if quoted:
            position = quoted.end()
            continue
        if text[position] == "(":
            stack.append(position)
        elif text[position] == ")" and len(stack) > 1:
            stack.pop()
        position += 1
    return stack[-1]


def _at_character(text: str, offset: int, allowed: set[str]) -> QueryInvalid:
    character = text[offset]
    if character in "\"'" and not QUOTED.match(text, offset):
        return invalid_at(text, offset, "quoted text is not closed", f"add a {character} where it ends")
    if character == ":" and text[offset + 1 : offset + 2].strip() == "":
        return invalid_at(text, offset + 1, f"expected a value right{_after(text, offset + 1)}", AS_TEXT)
    if character == ")" and not _opened(text, offset):
        return invalid_at(text, offset, "')' without a '('", f"remove it, or {AS_TEXT}")
    if character == "-" and "WORD" in allowed:
        return invalid_at(text, offset, "expected a search term right after '-'", f'{AS_TEXT}: "-"')
    if "WORD" in allowed and (said := _at_word(text, offset)):
        return said
    if "VALUE" in allowed and text.startswith("//", offset):
        return invalid_at(
            text, offset, f"expected a value{_after(text, offset)}", "to find a URL put it in quotes"
        )
    if text[offset:].startswith(("AND", "OR", "NOT")) and "WORD" in allowed:
        word = text[offset:].split(maxsplit=1)[0]
        return invalid_at(text, offset, f"expected a search term before '{_short(word)}'", AS_TEXT)
    if (
        "STRING" in allowed
        and (quoted := QUOTED.match(text, offset))
        and text[quoted.end() :][:1].strip(" |)")
    ):
        return invalid_at(text, quoted.end(), NO_SPACE, ESCAPED)
    message = f"expected {_expected(allowed)}{_after(text, offset)}, found {_found(text, offset)}"
    forgotten = "_PIPE" in allowed and _found(text, offset).strip("'").lower() in PIPES.split(", ")
    return invalid_at(text, offset, message, "put a | before it" if forgotten else _hint(allowed) or LANGUAGE)


def _opened(text: str, offset: int) -> bool:
    return text.count("(", 0, offset) > text.count(")", 0, offset)


def _at_word(text: str, offset: int) -> QueryInvalid | None:
    """A word that is cut off by what stands right behind it."""
    quoted = QUOTED.match(text, offset)
    run = quoted or TERM_RUN.match(text, offset)
    if run is None or run.end() == len(text):
        return None
    end, word = run.end(), run[0]
    follower = text[end]
    if follower == ":" and (end + 1 == len(text) or text[end + 1].isspace()):
        return invalid_at(text, end + 1, f"expected a value right after '{_short(word)}:'", AS_TEXT)
    if follower == ":":
        return invalid_at(
            text, offset, f"cannot use field name: {_short(word)}", f"put the name in quotes; {AS_TEXT}"
        )
    if word.startswith("/"):
        return invalid_at(text, offset, "cannot read regex", r"end it with / and write \/ for a slash in it")
    if follower in "\"'" and word.endswith(("=", "=~")):
        said = LOGQL if word.startswith("{") else AS_FIELD
        return invalid_at(text, end, NO_SPACE, said)
    if follower in "\"'" or quoted:
        return invalid_at(text, end, NO_SPACE, ESCAPED)
    if follower == "(":
        return invalid_at(text, end, "expected a space before '('", AS_TEXT)
    return None


def _after(text: str, offset: int) -> str:
    """What stands before a place, when it says more than nothing."""
    before = text[:offset].rstrip()
    found = re.search(r"""[^\s()|"']+$|[()|]$""", before)
    return f" after '{_short(found[0])}'" if found else ""


def _found(text: str, offset: int) -> str:
    run = re.match(r"""[\w.@-]+|.""", text[offset:], re.DOTALL)
    return f"'{_short(run[0])}'" if run else "the end"


def _short(text: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= 40 else shown[:39] + "…"


def _hint(allowed: set[str]) -> str:
    if "STATS" in allowed:
        return f"pipes are {PIPES}"
    if "_OR" in allowed and "_RPAR" in allowed and "WORD" not in allowed:
        return "separate the values of a set with OR"
    if "VALUE" in allowed:
        return "put a value with spaces or signs in quotes"
    if "RVALUE" in allowed or "_TO" in allowed:
        return "a range is written [low TO high], with * for an open end"
    if "WORD" in allowed:
        return AS_TEXT
    return ""
