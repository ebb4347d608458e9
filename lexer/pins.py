"""What operators say about patterns, in a small TOML file; it wins over what is learnt.

    [[pin]]                      # a pattern exactly as written, whatever is learnt
    template = "user <*> logged in from <*>"
    name = "login"               # optional here and in merge

    [[name]]                     # a name for a pattern that was learnt
    template = "cache <*> evicted"    # or: pattern = "0123456789abcdef"
    name = "eviction"

    [[split]]                    # the words at <=> tell patterns apart
    template = "interface <*> changed state to <=>"

    [[merge]]                    # these are one pattern
    templates = ["backup of <*> started", "backup of <*> resumed"]
    template = "backup of <*> begins"      # optional: how it is shown

`<*>` stands for anything, at least one character. The first pin or merge that fits a template has it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lexer._lexer import hash64
from lexer.errors import PinsInvalid
from lexer.words import KEPT, KEPT_END, VARIABLE

_GAP = re.compile(rb"<([*=])>")
_ID = re.compile(r"[0-9a-f]{16}")
_KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pin": (("template",), ("name",)),
    "name": (("name",), ("template", "pattern")),
    "split": (("template",), ()),
    "merge": (("templates",), ("template", "name")),
}


@dataclass(frozen=True)
class Pattern:
    """A class of lines. `id` is the hash of the template that it had when it was found."""

    id: int
    template: bytes
    name: str = ""


@dataclass(frozen=True)
class Form:
    """A template's text with places in it, and which templates are of that form."""

    text: bytes

    def places(self, template: bytes) -> list[tuple[int, int]] | None:
        """Where a template has the places of the form; None if it is not of this form. Linear in its length."""
        parts = _GAP.split(self.text)[::2]
        if len(parts) == 1:
            return [] if template == self.text else None
        if not template.startswith(parts[0]):
            return None
        found, at = [], len(parts[0])
        for part in parts[1:-1]:
            end = template.find(part, at + 1)
            if end < 0:
                return None
            found.append((at, end))
            at = end + len(part)
        end = len(template) - len(parts[-1])
        return [*found, (at, end)] if end > at and template.endswith(parts[-1]) else None

    def keep(self, template: bytes) -> bytes | None:
        """The template with what stands at `<=>` marked as unchangeable; None if it is not of this form."""
        places = self.places(template)
        if places is None:
            return None
        kinds = _GAP.split(self.text)[1::2]
        for (start, end), kind in reversed(list(zip(places, kinds, strict=True))):
            if kind == b"=" and VARIABLE not in template[start:end]:
                template = template[:start] + KEPT + template[start:end] + KEPT_END + template[end:]
        return template


@dataclass(frozen=True)
class Pins:
    """What the file says, ready to be asked about a template."""

    fixed: tuple[tuple[Form, Pattern], ...] = ()
    splits: tuple[Form, ...] = ()
    names: tuple[tuple[bytes | int, str], ...] = ()

    def pattern_of(self, template: bytes) -> Pattern | None:
        """The pattern that a template must have."""
        return next((pattern for form, pattern in self.fixed if form.places(template) is not None), None)

    def kept(self, template: bytes) -> bytes:
        """The template with the words marked that tell patterns apart."""
        return next((kept for form in self.splits if (kept := form.keep(template)) is not None), template)

    def rule(self, template: bytes) -> bytes:
        """What rules a template, to know when that changes; empty where it is left to the learner."""
        pattern = self.pattern_of(template)
        if pattern is not None:
            return b"pattern " + pattern.template
        split = next((form for form in self.splits if form.places(template) is not None), None)
        return b"split " + split.text if split else b""

    def named(self, pattern: Pattern) -> Pattern:
        """The pattern under the name that it was given."""
        fixed = next((known.name for _, known in self.fixed if known.id == pattern.id), "")
        name = next((name for key, name in self.names if key in (pattern.id, pattern.template)), fixed)
        return Pattern(pattern.id, pattern.template, name)


def read_pins(path: Path) -> Pins:
    """Read the file. Raises PinsInvalid, with the file and the key, for what it cannot use."""
    try:
        found = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PinsInvalid(f"cannot read pins {path}: {error}", "give a TOML file") from None
    for key, entries in found.items():
        if key not in _KEYS:
            raise PinsInvalid(f"cannot use key {key!r} in {path}", f"known keys: {', '.join(_KEYS)}")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise PinsInvalid(f"cannot use key {key!r} in {path}: it is no list", f"write it as [[{key}]]")
        for number, entry in enumerate(entries, 1):
            _check(path, f"{key}[{number}]", entry, *_KEYS[key])
    fixed = (
        *map(_pin, found.get("pin", [])),
        *(pair for entry in found.get("merge", []) for pair in _merge(entry)),
    )
    splits = tuple(Form(entry["template"].encode()) for entry in found.get("split", []))
    return Pins(fixed, splits, tuple(_name(entry) for entry in found.get("name", [])))


def _check(
    path: Path, where: str, entry: dict[str, Any], needed: tuple[str, ...], more: tuple[str, ...]
) -> None:
    for key, value in entry.items():
        if key not in needed + more:
            hint = f"known keys: {', '.join(needed + more)}"
            raise PinsInvalid(f"cannot use key '{where}.{key}' in {path}", hint)
        _check_value(path, f"{where}.{key}", key, value)
    for key in needed:
        if key not in entry:
            raise PinsInvalid(f"cannot find key '{where}.{key}' in {path}", f"give {where} a {key}")
    if where.startswith("name") and len(entry) != 2:
        raise PinsInvalid(f"cannot use '{where}' in {path}", "give it either a template or a pattern")
    if where.startswith("split") and "<=>" not in entry["template"]:
        raise PinsInvalid(
            f"cannot use key '{where}.template' in {path}", "write <=> where words tell patterns apart"
        )


def _check_value(path: Path, where: str, key: str, value: Any) -> None:
    texts = value if key == "templates" and isinstance(value, list) else [value]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise PinsInvalid(f"cannot use key '{where}' in {path}: {value!r}", "give a text in quotes")
    if key == "templates" and (not isinstance(value, list) or len(value) < 2):
        raise PinsInvalid(
            f"cannot use key '{where}' in {path}: {value!r}", "give a list of two texts or more"
        )
    if key == "pattern" and not _ID.fullmatch(value):
        raise PinsInvalid(f"cannot use key '{where}' in {path}: {value!r}", "give 16 hexadecimal digits")
    if "<=>" in "".join(texts) and not where.startswith("split"):
        raise PinsInvalid(f"cannot use key '{where}' in {path}: {value!r}", "write <=> only in split")


def _pin(entry: dict[str, str]) -> tuple[Form, Pattern]:
    text = entry["template"].encode()
    return Form(text), Pattern(hash64(text), text, entry.get("name", ""))


def _merge(entry: dict[str, Any]) -> Iterator[tuple[Form, Pattern]]:
    text = str(entry.get("template", entry["templates"][0])).encode()
    pattern = Pattern(hash64(text), text, entry.get("name", ""))
    yield from ((Form(form.encode()), pattern) for form in (*entry["templates"], text.decode()))


def _name(entry: dict[str, str]) -> tuple[bytes | int, str]:
    key = int(entry["pattern"], 16) if "pattern" in entry else entry["template"].encode()
    return key, entry["name"]
