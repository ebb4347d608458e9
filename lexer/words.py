"""What a word looks like: a name that may change from line to line, or a word of the sentence?

This is general knowledge of English and of how programs name things; nothing here is of one system.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache

VARIABLE = b"<*>"
KEPT, KEPT_END = b"\x02", b"\x03"  # around a word that must stay as it is


class Shape(Enum):
    """What a word is by its letters alone; the value is how much it says for a variable where it stands."""

    VARIABLE = 4.5  # the lexer, or this stage, found one there in other lines
    VALUE = 3.0  # dots, slashes, underscores inside: a path, a host, a class, a constant
    NAME = 1.5  # camelCase, CAPITALS, parts joined by a hyphen; null
    PLAIN = 1.0
    CONTRAST = 0.5  # tells statements apart: up and down, started and stopped
    FUNCTION = 0.0  # the, is, not, from …
    MARK = -1.0  # no word at all

    @property
    def is_name(self) -> bool:
        """Whether a word of this shape may be the name of something."""
        return self in (Shape.VALUE, Shape.NAME, Shape.PLAIN)


_FUNCTION = frozenset(
    b"a an the is are was were be been being has have had do does did not no nor never cannot can could will would "
    b"shall should may might must in on at to from for of by with without within into onto over as and or but if then "
    b"than that this these those it its via per while when where which who after before during because due until "
    b"unless so such also only already still again yet there here all any both each every some other another more "
    b"most less least very too now".split()
)
_CONTRAST = frozenset(
    b"up down out off open close start stop begin end enter leave left success succeeded failure fail ok error good "
    b"bad new old first last next previous active inactive online offline ready available unavailable valid invalid "
    b"known unknown empty full idle busy alive dead healthy unhealthy lost found read write send receive sent get set "
    b"put add remove create delete update insert load unload attach detach mount unmount connect disconnect lock "
    b"unlock bind unbind join hit miss accept reject allow deny grant revoke commit abort rollback acquire release "
    b"pause resume suspend enable disable login logout done normal abnormal high low min max minimum maximum inbound "
    b"outbound incoming outgoing upload download input output request response source destination local remote "
    b"master slave primary secondary increase decrease increment decrement push pop post head patch options trace "
    b"register unregister subscribe unsubscribe show hide startup shutdown reboot restart reload finish complete "
    b"incomplete warning critical debug true false yes".split()
)
_LITERAL = frozenset(b"null none nil undefined".split())
_BEFORE_A_VALUE = frozenset(
    b"for from by of at via with using on user host hostname server client node peer device interface dev file "
    b"filename directory path class thread module plugin driver package process program job task queue topic "
    b"table database db index key name named called service unit zone domain group account role container image "
    b"pod namespace volume network partition shard channel field column property option parameter flag variable "
    b"type method action event state status reason cause application app resource tenant region cluster "
    b"component instance worker member owner command function library broadcast intent port address url uri "
    b"session id version level mode code exception".split()
)
_LETTER = re.compile(rb"[A-Za-z\x80-\xff]")
_VALUE = re.compile(rb"[A-Za-z\x80-\xff]{2}[.][A-Za-z\x80-\xff]|[_/\\@$]|-[^-]*-")
_NAME = re.compile(rb"[a-z][A-Z]|[A-Z]{2}[a-z]|[^-]-[^-]")
_SENTENCE = re.compile(rb"[A-Za-z\x80-\xff][A-Za-z\x80-\xff-]*")
_PARTICIPLE = re.compile(rb"[A-Za-z]{3,}(?:ed|ing|ful)")


@lru_cache(1 << 16)
def shape(word: bytes) -> Shape:
    """The shape of a word; the white space before it does not count."""
    word = word.strip()
    low = word.lower()
    if word == VARIABLE:
        return Shape.VARIABLE
    if word.startswith(KEPT):
        return Shape.FUNCTION
    if not _LETTER.search(word):
        return Shape.MARK
    if low in _FUNCTION:
        return Shape.FUNCTION
    if low in _CONTRAST:
        return Shape.CONTRAST
    if _VALUE.search(word):
        return Shape.VALUE
    if low in _LITERAL or _NAME.search(word) or (len(word) > 1 and word.isalpha() and word.isupper()):
        return Shape.NAME
    return Shape.CONTRAST if _PARTICIPLE.fullmatch(word) else Shape.PLAIN


def announces_value(word: bytes) -> bool:
    """Whether a value usually follows: `user`, `from`, `file` …"""
    return word.strip().lower() in _BEFORE_A_VALUE


def is_known_word(word: bytes) -> bool:
    """Whether a word helps to know a template by: one of language, neither a value nor numbered, as `amd64`."""
    return _SENTENCE.fullmatch(word.strip()) is not None
