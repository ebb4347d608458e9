"""The body of a bulk request, and its answer."""

import json
from typing import Any, NamedTuple

from ingest.errors import RequestRefused
from ingest.receivers.encodings import Body
from ingest.receivers.intake import Intake, Tags

MAX_ITEMS = 100_000
"""Of one request: each is told what became of it."""
MAX_ACTION_BYTES = 1 << 14
KNOWN_ACTIONS = 256
REFUSED = "refused"
"""Among the counts of what was taken: documents that were not."""
_decode = json.JSONDecoder().decode
_quoted = json.JSONEncoder().encode
NO_OBJECT = ("mapper_parsing_exception", "failed to parse: the document is no json object")
APPEND_ONLY = "logs are append-only; use create or index"


class Action(NamedTuple):
    """`verb` is create, index, update or delete; `into` an index."""

    verb: str
    into: str
    id: str


class Bulk:
    """Takes action lines and documents by turns, and notes what became of each."""

    def __init__(self, intake: Intake, index: str, filter_path: str) -> None:
        """`index` is for actions that name none; `filter_path` as Elasticsearch has it."""
        self.intake = intake
        self._index = index
        self._shown = Shown(filter_path)
        self._known: dict[bytes, Action] = {}
        self._arounds: dict[tuple[str, str], tuple[str, str]] = {}
        self._made_id = intake.taken.key.hex() + "-"
        self._items: list[str] = []
        self._count = 0
        self._errors = 0

    def take(self, body: Body) -> None:
        """Take all of it. Raises RequestRefused where it is no bulk request: then nothing may be kept."""
        at, size, number = 0, len(body), 0
        while at < size:
            end = body.find(b"\n", at)
            end = size if end < 0 else end
            line = bytes(body[at : min(end, at + MAX_ACTION_BYTES + 1)])
            number += 1
            if not line.strip():
                at = end + 1
                continue
            action = self._action(line, number)
            if action.verb in ("create", "index"):
                at, verdicts = self.intake.documents(body, at, line, document_tags(action.into, action.id))
                if not verdicts:
                    raise _wrong(number, "it has no document after it")
                self._make_room(len(verdicts))
                self._note(action, verdicts)
                number += 2 * len(verdicts) - 1
            else:
                at = end + 1
                if action.verb == "update":  # what is to be changed is on the next line
                    after = body.find(b"\n", at)
                    at = size if after < 0 else after + 1
                    number += 1
                reason = f"cannot {action.verb} document: {APPEND_ONLY}"
                self._make_room(1)
                self._refuse(action, "illegal_argument_exception", reason)
        if not self._count:
            raise RequestRefused("bad_body", "no requests added: the body is empty", "send documents")

    def answer(self, took: int) -> str:
        """The whole answer; no spaces, as some clients look for its bytes."""
        parts = []
        if self._shown.top("took"):
            parts.append(f'"took":{took}')
        if self._shown.top("errors"):
            parts.append(f'"errors":{"true" if self._errors else "false"}')
        if self._shown.top("items"):
            parts.append(f'"items":[{",".join(self._items)}]')
        return "{" + ",".join(parts) + "}"

    def _make_room(self, more: int) -> None:
        if self._count + more > MAX_ITEMS:
            message = f"cannot take request: it has more than {MAX_ITEMS} documents"
            raise RequestRefused("too_large", message, "send it in parts", 413)

    def _action(self, line: bytes, number: int) -> Action:
        if action := self._known.get(line):
            return action
        action = self._read_action(line, number)
        if len(self._known) >= KNOWN_ACTIONS:
            self._known.clear()
        self._known[line] = action
        return action

    def _read_action(self, line: bytes, number: int) -> Action:
        if len(line) > MAX_ACTION_BYTES:
            raise _wrong(number, f"it is longer than {MAX_ACTION_BYTES} bytes")
        try:
            found = _decode(line.decode())
        except (ValueError, RecursionError):
            raise _wrong(number, "it is no json") from None
        if not isinstance(found, dict) or len(found) != 1:
            raise _wrong(number, "it is no object with one member")
        verb, what = next(iter(found.items()))
        if verb not in ("create", "index", "update", "delete") or not isinstance(what, dict | None):
            raise _wrong(number, f"unknown action {verb[:40]!r}")
        what = what or {}
        index, id_ = what.get("_index", self._index), what.get("_id", "")
        return Action(verb, _text(index), _text(id_))

    def _note(self, action: Action, verdicts: bytes) -> None:
        if b"\0" not in verdicts:
            self._note_taken(action, len(verdicts))
            return
        for verdict in verdicts:
            if verdict:
                self._note_taken(action, 1)
            else:
                self._refuse(action, *NO_OBJECT)

    def _note_taken(self, action: Action, count: int) -> None:
        first = self._count
        self._count += count
        before, after = self._around(action)
        if not after:
            self._items += [before] * count if before else []
        elif action.id:
            self._items += [before + _quoted(action.id)[1:-1] + after] * count
        else:
            before += self._made_id
            self._items += [f"{before}{n}{after}" for n in range(first, first + count)]

    def _around(self, action: Action) -> tuple[str, str]:
        """What stands before and after the id in an item that was taken; all before where no id is shown."""
        around = self._arounds.get(action[:2])
        if around is None:
            shown = self._shown.item(created(action.into, "\0"))
            text = json.dumps({action.verb: shown}, separators=(",", ":")) if shown else ""
            before, _, after = text.rpartition("\\u0000")
            around = (before, after) if "_id" in shown else (text, "")
            if len(self._arounds) >= KNOWN_ACTIONS:
                self._arounds.clear()
            self._arounds[action[:2]] = around
        return around

    def _refuse(self, action: Action, kind: str, reason: str) -> None:
        number, self._count = self._count, self._count + 1
        self._errors += 1
        id_ = action.id or f"{self._made_id}{number}"
        error = {"type": kind, "reason": reason}
        self.intake.taken.counts[REFUSED] = self._errors
        if shown := self._shown.item({"_index": action.into, "_id": id_, "status": 400, "error": error}):
            self._items.append(json.dumps({action.verb: shown}, separators=(",", ":")))


class Shown:
    """Which parts of an answer a `filter_path` leaves: `errors,items.*.status`."""

    def __init__(self, filter_path: str) -> None:
        paths = [path.strip().split(".") for path in filter_path.split(",") if path.strip()]
        self._all = not paths or any(path[0] in ("*", "**") and len(path) == 1 for path in paths)
        self._tops = {path[0] for path in paths}
        items = [path for path in paths if path[0] in ("items", "*", "**")]
        self._fields = {path[2] if len(path) > 2 else path[-1] for path in items}
        self._every = (
            self._all or any(len(path) < 3 and path[0] != "**" for path in items) or "*" in self._fields
        )

    def top(self, name: str) -> bool:
        """Whether this member of the answer is shown."""
        return self._all or name in self._tops or (name == "items" and bool(self._fields))

    def item(self, fields: dict[str, Any]) -> dict[str, Any]:
        """What is shown of an item; nothing of one is no item."""
        return fields if self._every else {name: one for name, one in fields.items() if name in self._fields}


def created(index: str, id_: str) -> dict[str, Any]:
    """What Elasticsearch says of a document that it took."""
    return {
        "_index": index,
        "_id": id_,
        "_version": 1,
        "result": "created",
        "_shards": {"total": 1, "successful": 1, "failed": 0},
        "_seq_no": 0,
        "_primary_term": 1,
        "status": 201,
    }


def document_tags(index: str, id_: str) -> Tags:
    """Where a document was to go, as tags."""
    return [(name, value) for name, value in (("_index", index), ("_id", id_)) if value]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _wrong(number: int, why: str) -> RequestRefused:
    return RequestRefused(
        "bad_body",
        f"Malformed action/metadata line [{number}]: {why}",
        'write {"create":{}} before each document',
    )
