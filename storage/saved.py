"""Saved searches, and the states of the page that short links stand for: small documents in ClickHouse.

Who may see and change which is for the paths to look at (`query/savedroutes.py`), and so is whether a query can be
read.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import string
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from storage.documents import Asks, Documents, made_of
from storage.errors import ConfigError, Conflict, KeyInvalid, KeyUnknown

ALPHABET = string.digits + string.ascii_lowercase
ID_LENGTH = 10  # of 36 letters: 52 bits
MOST_SAVED = 1_000  # of one namespace: all of them are read for a list
MOST_LINKS = 200_000  # a few hundred bytes each
MOST_COLUMNS, MOST_STATES = 50, 50
MOST_NAME, MOST_TEXT, MOST_STATE = 200, 16_384, 16_384  # characters; the last in bytes of JSON
DAY = 86_400
Said = dict[str, Any]


@dataclass(frozen=True)
class LinksConfig:
    """`[links]`: short links to what the page shows."""

    days: int = 90  # after which a link that nobody asked for again ends, unless it is pinned; 0: never

    def __post_init__(self) -> None:
        if not 0 <= self.days <= 36_500:
            raise ConfigError(f"cannot use links.days = {self.days}", "give days, 0 for ever")


@dataclass(frozen=True)
class Search:
    """A saved search. Times are nanoseconds since 1970."""

    namespace: str
    name: str
    query: str = ""
    from_: str = ""
    to: str = ""
    view: str = "explore"
    columns: tuple[str, ...] = ()
    state: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    id: str = ""

    def changed(self, asked: Mapping[str, Any]) -> Search:
        """With what was asked for. Raises KeyInvalid for what none can have, Conflict for a version that is old."""
        known = {"name": _name, "query": _text, "from": _short, "to": _short, "view": _word}
        wanted: Said = {}
        for key, value in asked.items():
            if key in known:
                wanted["from_" if key == "from" else key] = known[key](key, value)
            elif key == "columns":
                wanted[key] = _texts(key, value)
            elif key == "state":
                wanted[key] = texts_by_name(value)
            elif key == "version":
                if value != self.version:
                    raise Conflict(
                        f"cannot change {self.name!r}: it is another since", "look at it, and change it anew"
                    )
            else:
                names = ", ".join((*known, "columns", "state", "version"))
                raise KeyInvalid(f"cannot use {key[:40]!r} here", f"known: {names}")
        return replace(self, **wanted)

    def kept(self) -> Said:
        """As it is stored."""
        return {**asdict(self), "columns": list(self.columns), "state": dict(self.state)}

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Search:
        """What `kept` gave."""
        return made_of(cls, {**said, "columns": tuple(said["columns"])})


@dataclass(frozen=True)
class Link:
    """A short link. `expires_at`: seconds since 1970; 0 for a pinned one."""

    id: str
    state: Mapping[str, str]
    pinned: bool = False
    expires_at: int = 0

    def is_over(self, now: float) -> bool:
        return bool(self.expires_at) and self.expires_at <= now


class Library:
    """What is saved. Thread-safe; raises what ClickHouse gives cause to."""

    def __init__(self, hot: Asks, links: LinksConfig | None = None) -> None:
        self._searches = Documents(hot, "saved")
        self._links = Documents(hot, "links")
        self._alerts = Documents(hot, "alerts")
        self._days = (links or LinksConfig()).days
        self._lock = threading.Lock()

    # --- saved searches ----------------------------------------------------------------------------------

    def searches(self) -> list[Search]:
        """All of them, of every namespace, by name."""
        found = [Search.read(one) for one in self._searches.all().values() if not one.get("deleted")]
        return sorted(found, key=lambda one: (one.name.lower(), one.id))

    def search(self, id_: str) -> Search | None:
        """One, by its id."""
        said = self._searches.get(id_)
        return Search.read(said) if said is not None and not said.get("deleted") else None

    def save(self, search: Search) -> Search:
        """Keep a new one; Conflict where a namespace has too many. It has an id then."""
        with self._lock:
            if sum(one.namespace == search.namespace for one in self.searches()) >= MOST_SAVED:
                raise Conflict(
                    f"cannot save search: {search.namespace} has {MOST_SAVED:,} of them", "delete some first"
                )
            now = time.time_ns()
            made = replace(search, id=new_id(), version=1, created_at=now, updated_at=now)
            self._searches.put(made.id, made.kept())
            return made

    def change(self, search: Search) -> Search:
        """Put another in the place of one; `search.version` is the one that it was made of. Conflict, KeyUnknown."""
        with self._lock:
            there = self.search(search.id)
            if there is None:
                raise KeyUnknown(f"cannot find saved search: {search.id[:60]}", "list them")
            if there.version != search.version:
                raise Conflict(f"cannot change {search.name!r}: it is another since", "look at it again")
            made = replace(search, version=search.version + 1, updated_at=time.time_ns())
            self._searches.put(made.id, made.kept())
            return made

    def delete(self, search: Search) -> None:
        """Let one go; Conflict while alerts stand on it. That it is gone is kept for ever: what was said before must
        not hold again."""
        if uses := self.uses().get(search.id):
            raise Conflict(f"cannot delete {search.name!r}: {uses} alerts stand on it", "delete them first")
        self._searches.put(search.id, {"deleted": True})

    def uses(self) -> dict[str, int]:
        """How many alerts stand on each saved search."""
        said = self._alerts.all().values()
        return Counter(one["saved"] for one in said if one.get("saved") and not one.get("deleted"))

    def forget(self, namespace: str) -> None:
        """Let all of a namespace go."""
        gone = {one.id: {"deleted": True} for one in self.searches() if one.namespace == namespace}
        self._searches.put_all(gone)

    # --- links -------------------------------------------------------------------------------------------

    def link(self, id_: str) -> Link | None:
        """One that has not ended."""
        said = self._links.get(id_)
        if said is None:
            return None
        found = Link(id_, said["state"], said["pinned"], said["expires_at"])
        return None if found.is_over(time.time()) else found

    def make_link(self, state: Mapping[str, str], pinned: bool | None = None) -> Link:
        """The link of a state: always the same one. `pinned`: None leaves it as it is. Conflict where there are too
        many."""
        wanted = dict(sorted(state.items()))
        with self._lock:
            for id_ in _ids(wanted):
                said = self._links.get(id_)
                if said is None or said["state"] == wanted:
                    break
            if said is None and self._links.count() >= MOST_LINKS:
                raise Conflict(f"cannot make link: there are {MOST_LINKS:,}", "lower links.days")
            keep = pinned if pinned is not None else bool(said and said["pinned"])
            ends = 0 if keep or not self._days else int(time.time()) + self._days * DAY
            # A row that was to be kept for ever must not come back once a later one was forgotten.
            for_ever = not ends or bool(said and not said["expires_at"])
            kept = {"state": wanted, "pinned": keep, "expires_at": ends}
            self._links.put(id_, kept, **({} if for_ever else {"until": ends}))
            return Link(id_, wanted, keep, ends)


def new_id() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH))


def _ids(state: Mapping[str, str]) -> Iterable[str]:
    """The ids that a state may have, the first one mostly: of the SHA-256 of what it says."""
    number = int.from_bytes(hashlib.sha256(json.dumps(state).encode()).digest())
    while number:
        letters = []
        for _ in range(ID_LENGTH):
            number, rest = divmod(number, len(ALPHABET))
            letters.append(ALPHABET[rest])
        yield "".join(letters)


# --- what may be said -----------------------------------------------------------------------------------------


def texts_by_name(value: Any) -> dict[str, str]:
    """A state of the page: texts by names that an address can have. Raises KeyInvalid."""
    if not isinstance(value, Mapping) or not all(
        isinstance(one, str) for pair in value.items() for one in pair
    ):
        raise KeyInvalid("cannot use 'state'", "give texts by name, as the page has them in its address")
    if any(not (key.isascii() and key.isidentifier() and len(key) <= 40) for key in value):
        raise KeyInvalid("cannot use a name of 'state'", "use letters, digits and _")
    if len(value) > MOST_STATES or len(json.dumps(value)) > MOST_STATE:
        raise KeyInvalid("cannot use 'state': it is too large", f"give up to {MOST_STATE} bytes of JSON")
    return {key: _encodable("state", text) for key, text in value.items()}


def _text(key: str, value: Any, most: int = MOST_TEXT) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise KeyInvalid(f"cannot use {key!r}", f"give a text of up to {most} characters")
    return _encodable(key, value)


def _encodable(key: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise KeyInvalid(f"cannot use {key!r}: it has half a character", "give whole ones") from None
    return value


def _short(key: str, value: Any) -> str:
    return _text(key, value, 100)


def _name(key: str, value: Any) -> str:
    name = _text(key, value, MOST_NAME).strip()
    if not name or not all(one.isprintable() for one in name):
        raise KeyInvalid("cannot use this name", f"give 1 to {MOST_NAME} printable characters")
    return name


def _word(key: str, value: Any) -> str:
    word = _text(key, value, 40)
    if not (word.isascii() and word.isidentifier()):
        raise KeyInvalid(f"cannot use {key!r}: {word!r}", "give the name of a view of the page")
    return word


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MOST_COLUMNS:
        raise KeyInvalid(f"cannot use {key!r}", f"give a list of up to {MOST_COLUMNS} texts")
    return tuple(_text(key, one, 1_000) for one in value)
