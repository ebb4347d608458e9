"""Changing who may what, and namespaces: what the API's paths and the commands beside a server share."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from storage import migrations, schema
from storage.access.identity import AUDIT
from storage.access.keys import SESSION, Key, new_key, new_session
from storage.access.roles import Role, checked
from storage.cold_config import ColdConfig
from storage.documents import FOR_EVER, Documents
from storage.errors import KeyInvalid, KeyUnknown, NamespaceUnknown
from storage.hot import Hot
from storage.namespace_settings import LIMITS, MOST, RETENTION, SERVICES, Settings
from storage.spreading import Spread

KEPT_DAYS = 90  # that a key can still be seen once it is revoked or has expired
DAY = 86400
DURATION = re.compile(r"(\d{1,6})([smhdw])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": DAY, "w": 7 * DAY}
RATES = ("events_per_second", "bytes_per_second")
ALWAYS = ("default", AUDIT)  # namespaces that are made at every start
Said = dict[str, Any]


class Administration:
    """Keys, roles and namespaces of one ClickHouse. Thread-safe; raises NeveError."""

    def __init__(
        self,
        hot: Hot | Spread,
        cold: ColdConfig | None = None,
        *,
        check_filter: Callable[[str], None],
        made: Callable[[], object] = lambda: None,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        """`check_filter` raises for a text that is no filter; `made` is called when tables were made, `changed` when
        something is to be known at once."""
        self._hot = hot
        self._cold = cold
        self._check_filter = check_filter
        self._made = made
        self._changed = changed
        self._keys = Documents(hot, "keys")
        self._uses = Documents(hot, "key_uses")
        self._roles = Documents(hot, "roles")
        self._settings = Documents(hot, "namespaces")

    # --- keys --------------------------------------------------------------------------------------------

    def create_key(self, asked: Mapping[str, Any]) -> Said:
        """A new key by `scopes`, `namespaces`, `role`, `name`, `expires`, `events_per_second`, `bytes_per_second`; the
        answer alone has its text, `key`."""
        _known(asked, ("scopes", "namespaces", "role", "name", "expires", *RATES))
        role = _text(asked, "role")
        if role and role not in self.roles():
            raise KeyUnknown(f"cannot find role: {role[:60]}", "make it first: neve roles set")
        key, text = new_key(
            _texts(asked, "scopes"),
            _texts(asked, "namespaces"),
            role=role,
            name=_text(asked, "name"),
            seconds=duration(_text(asked, "expires")),
            **{rate: _rate(asked, rate) for rate in RATES},
        )
        self._put_key(key)
        return {**key.to_json(), "key": text}

    def create_session(self, name: str, roles: Iterable[str], seconds: float) -> str:
        """The text of a key for a login at the page."""
        key, text = new_session(name, roles, seconds)
        self._put_key(key)
        return text

    def keys(self, *, sessions: bool = False) -> list[Said]:
        """All keys, newest first, with when they were last used, about."""
        used = self._uses.all()
        found = [Key.read(one) for one in self._keys.all().values()]
        oldest = time.time() - KEPT_DAYS * DAY
        shown = [
            one
            for one in found
            if (sessions or one.kind != SESSION) and (not one.revoked_at or one.revoked_at > oldest)
        ]
        return [
            {**one.to_json(), "last_used_at": used.get(one.id, {}).get("at")}
            for one in sorted(shown, key=lambda one: (-one.created_at, one.id))
        ]

    def revoke(self, id_: str) -> Said:
        """Let a key be of no use any more. KeyUnknown."""
        said = self._keys.get(id_)
        if said is None:
            raise KeyUnknown(f"cannot find key: {id_[:60]}", "neve keys list shows them")
        said = {**said, "revoked_at": said["revoked_at"] or int(time.time())}
        self._put_key(Key.read(said))
        return Key.read(said).to_json()

    def _put_key(self, key: Key) -> None:
        # That it was revoked must not be forgotten before what was said of it earlier, by which it was good.
        until = max(key.expires_at, key.revoked_at) + KEPT_DAYS * DAY if key.expires_at else FOR_EVER
        self._keys.put(key.id, key.kept(), min(until, FOR_EVER))
        self._changed()

    # --- roles -------------------------------------------------------------------------------------------

    def roles(self) -> dict[str, Role]:
        return {
            name: Role.read(name, one) for name, one in self._roles.all().items() if not one.get("deleted")
        }

    def all_roles(self) -> list[Said]:
        """The same, as they are shown."""
        return [role.to_json() for role in self.roles().values()]

    def set_role(self, name: str, asked: Mapping[str, Any]) -> Said:
        """Make a role, or another of one: `filter`, `namespaces`, `scopes`. Keys that have it follow."""
        _known(asked, ("filter", "namespaces", "scopes"))
        scopes = _texts(asked, "scopes") or ("search",)
        role = checked(Role(name, _text(asked, "filter").strip(), _texts(asked, "namespaces"), scopes))
        if role.filter:
            self._check_filter(role.filter)
        self._roles.put(name, role.to_json())
        self._changed()
        return role.to_json()

    def delete_role(self, name: str) -> None:
        """Keys that have it are of no use then. KeyUnknown."""
        if name not in self.roles():
            raise KeyUnknown(f"cannot find role: {name[:60]}", "neve roles list shows them")
        self._roles.put(name, {"deleted": True})
        self._changed()

    # --- namespaces --------------------------------------------------------------------------------------

    def namespaces(self) -> list[Said]:
        """All that are there, with what they come to in the hot tier."""
        sizes = {one.namespace: one for one in self._hot.sizes()}
        settings = self._settings.all()
        found = []
        for name in self._hot.namespaces():
            size = sizes.get(name)
            deleting = bool(Settings.read(settings.get(name, {})).deleted_at)
            counts = {"hot_events": size.events if size else 0, "hot_bytes": size.bytes if size else 0}
            found.append({"name": name, **counts, **({"deleting": True} if deleting else {})})
        return found

    def namespace(self, name: str) -> Said:
        """Everything about one. NamespaceUnknown."""
        said = next((one for one in self.namespaces() if one["name"] == name), None)
        if said is None:
            raise NamespaceUnknown(f"cannot find namespace: {name[:60]}", "neve namespaces list shows them")
        settings = Settings.read(self._settings.get(name) or {})
        applied = self._hot.query(
            f"SELECT max(version) AS version, toUnixTimestamp(min(applied_at)) AS at FROM "
            f"{schema.SYSTEM_DATABASE}.migrations WHERE scope = {{scope:String}}",
            {"scope": name},
        ).rows[0]
        policy = settings.policy(self._cold.policy(name)) if self._cold is not None else None
        retention = (
            {one: getattr(policy, one) for one in (*RETENTION, SERVICES)} if policy is not None else None
        )
        return {
            **said,
            "created_at": applied[1],
            "schema_version": applied[0],
            "schema_latest": migrations.NAMESPACE[-1].version,
            "retention": retention and {**retention, SERVICES: dict(retention[SERVICES])},
            "limits": {one: settings.limit(one) for one in LIMITS if settings.limit(one) is not None},
            "settings": {key: value for key, value in settings.to_json().items() if key != "deleted_at"},
        }

    def create_namespace(self, name: str, asked: Mapping[str, Any]) -> Said:
        """Make it with these settings; one that was deleted can be made again once it is gone."""
        schema.namespace_database(name)
        before = Settings.read(self._settings.get(name) or {})
        there = name in self._hot.namespaces()
        if there and before.deleted_at:
            raise KeyInvalid(
                f"cannot make namespace: {name} is being deleted", "try again in a minute or two"
            )
        if there:
            raise KeyInvalid(f"cannot make namespace: {name} is there", "neve namespaces set changes it")
        if before.deleted_at and isinstance(self._hot, Spread) and (away := self._hot.shards.away()):
            raise KeyInvalid(
                f"cannot make namespace: shard {away[0].name} is away, and may have what was deleted of {name}",
                "try again when it is back",
            )
        settings = Settings().changed(asked)
        self._hot.create_namespace(name)
        if before.deleted_at:  # nothing that was for the old one is to be taken for the new
            self._hot.open_epoch(name)
        self._made()
        self._put_settings(name, settings)
        return self.namespace(name)

    def set_namespace(self, name: str, asked: Mapping[str, Any]) -> Said:
        """Change settings; null unsets one. NamespaceUnknown, KeyInvalid."""
        self._require(name)
        self._put_settings(name, Settings.read(self._settings.get(name) or {}).changed(asked))
        return self.namespace(name)

    def delete_namespace(self, name: str) -> Said:
        """Let it go, with all its events in both tiers, for good. The ager does it; here it is written down."""
        if name in ALWAYS:
            raise KeyInvalid(
                f"cannot delete namespace {name}: it is made at every start", "delete its events"
            )
        self._require(name)
        self._put_settings(name, Settings(deleted_at=time.time()))
        return {"name": name, "deleting": True}

    def _require(self, name: str) -> None:
        schema.namespace_database(name)
        if name not in self._hot.namespaces() or (self._settings.get(name) or {}).get("deleted_at"):
            raise NamespaceUnknown(f"cannot find namespace: {name}", "neve namespaces list shows them")

    def _put_settings(self, name: str, settings: Settings) -> None:
        self._settings.put(name, settings.to_json())
        self._changed()


def duration(text: str) -> float:
    """Seconds of `90d`, `12h`, `30m`; 0 for nothing or `never`. KeyInvalid."""
    if text in ("", "never"):
        return 0
    found = DURATION.fullmatch(text)
    if not found or not int(found[1]):
        raise KeyInvalid(f"cannot read duration: {text[:40]!r}", "write 90d, 12h, 30m or never")
    return int(found[1]) * SECONDS[found[2]]


def _known(asked: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in asked:
        if name not in names:
            raise KeyInvalid(f"cannot use {name[:40]!r} here", f"known: {', '.join(names)}")


def _rate(asked: Mapping[str, Any], name: str) -> int:
    value = asked.get(name) or 0
    if type(value) is not int or not 0 <= value <= MOST:
        raise KeyInvalid(f"cannot use {name} {str(value)[:40]}", "give a whole number from 0 on; 0: no limit")
    return value


def _text(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name) or ""
    if not isinstance(value, str):
        raise KeyInvalid(f"cannot use {name!r}", "give a text")
    return value


def _texts(asked: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = asked.get(name) or ()
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise KeyInvalid(f"cannot use {name!r}", "give a list of texts")
    return tuple(value)
