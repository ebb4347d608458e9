"""`neve keys`, `neve roles`, `neve namespaces`: who may what, and where."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import quote

from ingest.remote import Remote
from neve_steps import add_places, beside
from query.guards import check_filter
from storage.access.administration import Administration
from storage.access.identity import SCOPES
from storage.address import add_address
from storage.cold_config import TIERS
from storage.embedded_files import sync_folders
from storage.errors import ConfigError
from storage.namespace_settings import LIMITS, RETENTION, SERVICES, stored_over

DONE, FAILED = 0, 1
Said = dict[str, Any]


class Admin(Protocol):
    """What a running server and one beside which we work can do alike."""

    def keys(self) -> list[Said]: ...
    def create_key(self, asked: Mapping[str, Any]) -> Said: ...
    def revoke(self, id_: str) -> Said: ...
    def all_roles(self) -> list[Said]: ...
    def set_role(self, name: str, asked: Mapping[str, Any]) -> Said: ...
    def delete_role(self, name: str) -> None: ...
    def namespaces(self) -> list[Said]: ...
    def namespace(self, name: str) -> Said: ...
    def create_namespace(self, name: str, asked: Mapping[str, Any]) -> Said: ...
    def set_namespace(self, name: str, asked: Mapping[str, Any]) -> Said: ...
    def delete_namespace(self, name: str) -> Said: ...


Work = Callable[[argparse.Namespace, Admin], None]


def add_commands(commands: Any) -> None:
    """Add `keys`, `roles` and `namespaces`."""
    _add_keys(_group(commands, "keys", "keys by which programs and people are known"))
    _add_roles(_group(commands, "roles", "roles: which events exist for whom"))
    _add_namespaces(_group(commands, "namespaces", "namespaces, how long they keep events, and their limits"))


def _add_keys(actions: Any) -> None:
    create = _action(actions, "create", _create_key, "make a key; it is shown once")
    create.add_argument(
        "--scope", choices=SCOPES, action="append", required=True, help="what for; may be repeated"
    )
    create.add_argument(
        "--namespace", metavar="NS", action="append", default=[], help="only there; may be repeated"
    )
    create.add_argument(
        "--role", metavar="ROLE", default="", help="only the events of this role; with search"
    )
    create.add_argument("--expires", metavar="TIME", default="", help="after 90d, 12h, …; default: never")
    create.add_argument("--name", default="", help="what it is for, for people")
    for what in ("events", "bytes"):
        help_ = f"{what} that may be sent with it; beyond it 429; default: no limit"
        create.add_argument(f"--{what}-per-second", metavar="N", type=int, default=0, help=help_)
    _action(actions, "list", _list_keys, "show all keys, without their secrets")
    _action(actions, "revoke", _revoke_key, "let a key be of no use, within seconds").add_argument("id")


def _add_roles(actions: Any) -> None:
    change = _action(actions, "set", _set_role, "make a role, or change it")
    change.add_argument("name")
    change.add_argument(
        "--filter", metavar="QUERY", default="", help="the events that exist for it; default: all"
    )
    change.add_argument(
        "--namespace", metavar="NS", action="append", default=[], help="of people who log in with it"
    )
    change.add_argument(
        "--scope", choices=SCOPES, action="append", default=[], help="of people; default: search"
    )
    _action(actions, "list", _list_roles, "show all roles")
    _action(actions, "delete", _delete_role, "delete a role; its keys are of no use then").add_argument(
        "name"
    )


def _add_namespaces(actions: Any) -> None:
    _action(actions, "list", _list_namespaces, "show all namespaces")
    _action(actions, "show", _show_namespace, "everything about one").add_argument("name")
    for name, work, help_ in (
        ("create", _create_namespace, "make a namespace"),
        ("set", _set_namespace, "change settings of a namespace"),
    ):
        parser = _action(actions, name, work, help_)
        parser.add_argument("name")
        parser.add_argument(
            "settings",
            nargs="*",
            metavar="SETTING=VALUE",
            help=f"{', '.join(_settings())}; no value: the default",
        )
    delete = _action(actions, "delete", _delete_namespace, "delete a namespace and all its events, for good")
    delete.add_argument("name")
    delete.add_argument("--yes", action="store_true", help="do not ask")


def _settings() -> list[str]:
    return [*RETENTION, f"{SERVICES}.NAME", *LIMITS]


def _group(commands: Any, name: str, help_: str) -> Any:
    return commands.add_parser(name, help=help_, description=help_).add_subparsers(
        title="actions", metavar="ACTION", required=True
    )


def _action(actions: Any, name: str, work: Work, help_: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=help_, description=help_)
    add_address(parser)
    parser.add_argument("--json", action="store_true", help="the whole answer, as JSON")
    add_places(parser)
    parser.set_defaults(run=lambda args: _run(args, work))
    return parser


def _run(args: argparse.Namespace, work: Work) -> int:
    with _admin(args) as admin:
        work(args, admin)
    return DONE


@contextmanager
def _admin(args: argparse.Namespace) -> Iterator[Admin]:
    """A running server, by its address; with --data or --config the ClickHouse of one, whose owner needs no key."""
    if args.data is None and args.config is None:
        with Remote(args.url) as server:
            yield OverHttp(server)
        return
    if args.url is not None:
        raise ConfigError("cannot use both --url and --data or --config", "give one of them")
    with beside(args.data, args.config) as (_, hot, cold):
        folder = (
            args.data / "clickhouse"
            if args.data is not None and (args.data / "clickhouse").is_dir()
            else None
        )
        yield Administration(
            hot,
            stored_over(cold, hot),
            check_filter=check_filter,
            made=lambda: sync_folders(folder) if folder is not None else None,
        )


class OverHttp:
    """The same, over the API."""

    def __init__(self, server: Remote) -> None:
        self._server = server

    def keys(self) -> list[Said]:
        return list(self._server.get("/api/v1/keys")["keys"])

    def create_key(self, asked: Mapping[str, Any]) -> Said:
        return self._server.post("/api/v1/keys", asked)

    def asks_for_keys(self) -> bool:
        return bool(self._server.get("/auth/me")["enabled"])

    def revoke(self, id_: str) -> Said:
        return self._server.ask("DELETE", f"/api/v1/keys/{quote(id_, safe='')}")

    def all_roles(self) -> list[Said]:
        return list(self._server.get("/api/v1/roles")["roles"])

    def set_role(self, name: str, asked: Mapping[str, Any]) -> Said:
        return self._server.ask("PUT", f"/api/v1/roles/{quote(name, safe='')}", asked)

    def delete_role(self, name: str) -> None:
        self._server.ask("DELETE", f"/api/v1/roles/{quote(name, safe='')}")

    def namespaces(self) -> list[Said]:
        return list(self._server.get("/api/v1/namespaces")["namespaces"])

    def namespace(self, name: str) -> Said:
        return self._server.get(f"/api/v1/namespaces/{quote(name, safe='')}")

    def create_namespace(self, name: str, asked: Mapping[str, Any]) -> Said:
        return self._server.post("/api/v1/namespaces", {"name": name, **asked})

    def set_namespace(self, name: str, asked: Mapping[str, Any]) -> Said:
        return self._server.ask("PATCH", f"/api/v1/namespaces/{quote(name, safe='')}", asked)

    def delete_namespace(self, name: str) -> Said:
        return self._server.ask("DELETE", f"/api/v1/namespaces/{quote(name, safe='')}")


# --- keys ---------------------------------------------------------------------------------------------------


def _create_key(args: argparse.Namespace, admin: Admin) -> None:
    made = admin.create_key(
        {
            "scopes": args.scope,
            "namespaces": args.namespace,
            "role": args.role,
            "name": args.name,
            "expires": args.expires,
            "events_per_second": args.events_per_second,
            "bytes_per_second": args.bytes_per_second,
        }
    )
    # The key alone on standard output, so that it can be put into a file.
    print(json.dumps(made) if args.json else made["key"])
    if isinstance(admin, OverHttp) and not admin.asks_for_keys():
        hint = "keys protect nothing until its configuration has [auth] enabled = true; docs/security.md"
        print(f"neve: this server lets everybody in: {hint}", file=sys.stderr)


def _list_keys(args: argparse.Namespace, admin: Admin) -> None:
    found = admin.keys()
    if args.json:
        print(json.dumps(found))
        return
    if not found:
        print("neve: no keys; neve keys create makes one", file=sys.stderr)
    for one in found:
        where = ", ".join(one["namespaces"] or ["all namespaces"])
        role = f", as {one['role']}" if one["role"] else ""
        role += "".join(
            f", {one[f'{what}_per_second']:,} {what}/s"
            for what in ("events", "bytes")
            if one.get(f"{what}_per_second")
        )
        print(
            f"{one['id']}  {', '.join(one['scopes'])} in {where}{role}  {_state(one)}  {one['name']}".rstrip()
        )


def _state(key: Said) -> str:
    now = datetime.now(UTC).timestamp()
    if key["revoked_at"]:
        return f"revoked {_day(key['revoked_at'])}"
    if key["expires_at"] and key["expires_at"] <= now:
        return f"expired {_day(key['expires_at'])}"
    until = f"until {_day(key['expires_at'])}, " if key["expires_at"] else ""
    return f"{until}used {_day(key['last_used_at'])}" if key.get("last_used_at") else f"{until}never used"


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def _revoke_key(args: argparse.Namespace, admin: Admin) -> None:
    revoked = admin.revoke(args.id)
    print(json.dumps(revoked) if args.json else f"{revoked['id']} is revoked")


# --- roles --------------------------------------------------------------------------------------------------


def _set_role(args: argparse.Namespace, admin: Admin) -> None:
    asked = {"filter": args.filter, "namespaces": args.namespace, "scopes": args.scope}
    _show_role(args, admin.set_role(args.name, asked))


def _list_roles(args: argparse.Namespace, admin: Admin) -> None:
    for one in admin.all_roles():
        _show_role(args, one)


def _show_role(args: argparse.Namespace, role: Said) -> None:
    where = ", ".join(role["namespaces"] or ["all namespaces"])
    plain = f"{role['name']}  {', '.join(role['scopes'])} in {where}  {role['filter'] or 'every event'}"
    print(json.dumps(role) if args.json else plain)


def _delete_role(args: argparse.Namespace, admin: Admin) -> None:
    admin.delete_role(args.name)
    print(f"role {args.name} is deleted")


# --- namespaces ---------------------------------------------------------------------------------------------


def _list_namespaces(args: argparse.Namespace, admin: Admin) -> None:
    found = admin.namespaces()
    if args.json:
        print(json.dumps(found))
        return
    for one in found:
        going = "  is being deleted" if one.get("deleting") else ""
        print(f"{one['name']}  {one['hot_events']:,} events hot, {one['hot_bytes']:,} bytes{going}")


def _show_namespace(args: argparse.Namespace, admin: Admin) -> None:
    _print_namespace(args, admin.namespace(args.name))


def _create_namespace(args: argparse.Namespace, admin: Admin) -> None:
    _print_namespace(args, admin.create_namespace(args.name, _asked(args.settings)))


def _set_namespace(args: argparse.Namespace, admin: Admin) -> None:
    _print_namespace(args, admin.set_namespace(args.name, _asked(args.settings)))


def _print_namespace(args: argparse.Namespace, said: Said) -> None:
    if args.json:
        print(json.dumps(said))
        return
    print(
        f"{said['name']}  made {_day(said['created_at'])}, schema {said['schema_version']} of {said['schema_latest']}"
    )
    print(f"  {said['hot_events']:,} events hot, {said['hot_bytes']:,} bytes")
    for title in ("retention", "limits"):
        for name, value in (said[title] or {}).items():
            if value != {}:
                set_here = "" if name not in said["settings"] else "  (set)"
                print(f"  {name} = {json.dumps(value) if isinstance(value, dict) else value}{set_here}")


def _delete_namespace(args: argparse.Namespace, admin: Admin) -> None:
    if not args.yes:
        said = admin.namespace(args.name)
        print(f"{args.name}: {said['hot_events']:,} events hot, and all that are cold")
        if input("delete the namespace for good? [y/N] ").strip().lower() not in ("y", "yes"):
            raise ConfigError("nothing was deleted", "say y, or --yes")
    admin.delete_namespace(args.name)
    print(f"{args.name} is being deleted; it takes no events any more, and is gone in a few minutes")


def _asked(given: list[str]) -> Said:
    """Settings from `name=value`; no value unsets."""
    asked: Said = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or not name:
            raise ConfigError(f"cannot read setting: {one}", "write SETTING=VALUE")
        table, dot, inner = name.partition(".")
        if dot and table == SERVICES:
            asked.setdefault(SERVICES, {})[inner] = _value(text)
        else:
            asked[name] = _value(text)
    return asked


def _value(text: str) -> int | str | None:
    if not text or text in TIERS:
        return text or None
    return int(text) if text.lstrip("-").isdigit() else text
