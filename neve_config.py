"""`neve config`: is the configuration right, and what does it come to?"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from neve_serve import ServeConfig, config_file, settle
from storage.cold_config import SECRET, ColdConfig, Policy
from storage.described import EACH, Key, comments_of, keys_of, kind_of, quoted_key, toml
from storage.sections import Secret

DONE = 0
NOT_POLICY = ("folder", "default", "namespaces")  # of ColdConfig, that are no keys


def add_commands(commands: Any) -> None:
    """Add `config`."""
    parser = commands.add_parser("config", help="check the server's configuration, or show what it comes to")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="is everything in it known and usable? exit code 2 if not")
    check.set_defaults(run=run_check)
    show = actions.add_parser("print", help="every key with its value, defaults too; secrets are hidden")
    show.set_defaults(run=run_print)
    for one in (check, show):
        one.add_argument("--config", type=Path, metavar="FILE", help="default: ./neve.toml, if there is one")
        one.add_argument("--data", type=Path, metavar="DIR", help="as with neve serve")
        one.add_argument("--listen", metavar="HOST:PORT", help="as with neve serve")
    reference = actions.add_parser("reference", help="every key with its default and meaning, in Markdown")
    reference.set_defaults(run=run_reference)


def run_check(args: argparse.Namespace) -> int:
    """Say that it is right. Raises ConfigError where it is not."""
    settle(args).check()
    file = config_file(args.config)
    print(f"{file}: right" if file else "no configuration file: the defaults hold")
    return DONE


def run_print(args: argparse.Namespace) -> int:
    """What holds, as a file that could be used again but for its secrets."""
    config = settle(args)
    config.check()
    print("\n".join(printed(config)))
    return DONE


def run_reference(_args: argparse.Namespace) -> int:
    """The table of docs/configuration.md."""
    print("\n".join(reference()))
    return DONE


def printed(config: ServeConfig) -> Iterator[str]:
    """Lines of TOML: every key with what it means; those that have their default are comments."""
    table: tuple[str, ...] = ()
    for key in [*_others(config), *_cold_keys(config)]:
        if EACH in key.path or key.table:
            continue
        if key.path[:-1] != table:
            table = key.path[:-1]
            yield f"\n[{'.'.join(map(quoted_key, table))}]"
        says = f"  # {key.says}" if key.says else ""
        yield f"{'# ' if key.value == key.default else ''}{quoted_key(key.path[-1])} = {key.shown}{says}"


def reference() -> Iterator[str]:
    """Every key as a row of a table in Markdown."""
    yield "| key | kind | default | says |"
    yield "|---|---|---|---|"
    for key in [*_others(ServeConfig()), *_cold_reference()]:
        default = "" if key.table else f"`{toml(key.default)}`"
        yield f"| `{key.name}` | {key.kind} | {default} | {key.says} |"


def _others(config: ServeConfig) -> list[Key]:
    """All keys but those of `[cold]`."""
    return [key for key in keys_of(ServeConfig, config) if key.path != ("cold",)]


# --- [cold], which has a reader of its own -------------------------------------------------------------------


def _cold_reference() -> Iterator[Key]:
    cold = ColdConfig(Path("cold"))
    yield from _places(cold)
    yield from _policy(("cold",), Policy(), Policy())
    says = "one of them; credentials may be file: or env:"
    yield Key(("cold", "catalog", EACH), "text", "", "", says, True)
    yield Key(("cold", "services", EACH), "number", 0, 0, "keep_days of one service; 0: for ever", True)
    says = "the same keys but warehouse, catalog and named_collection, for one namespace"
    yield Key(("cold", "namespaces", EACH), "table", "", "", says, True)


def _cold_keys(config: ServeConfig) -> Iterator[Key]:
    cold = config.cold_config()
    yield from _places(cold)
    yield from _policy(("cold",), cold.default, Policy())
    for name, value in cold.catalog.items():
        held = Secret(value) if SECRET.search(name) or "@" in value else value
        yield Key(("cold", "catalog", name), "text", held, "", "")
    yield from _services(("cold",), cold.default.services)
    for name, policy in cold.namespaces.items():
        yield from _policy(("cold", "namespaces", name), policy, cold.default)
        yield from _services(("cold", "namespaces", name), policy.services)


def _places(cold: ColdConfig) -> Iterator[Key]:
    said = comments_of(ColdConfig)
    yield Key(("cold", "warehouse"), "text", cold.warehouse, "", said["warehouse"])
    yield Key(("cold", "named_collection"), "text", cold.named_collection, "", said["named_collection"])
    yield Key(("cold", "catalog"), "table", {}, {}, said["catalog"], True)


def _policy(where: tuple[str, ...], policy: Policy, default: Policy) -> Iterator[Key]:
    said = comments_of(Policy)
    for one in fields(Policy):
        if one.name != "services":
            value = getattr(policy, one.name)
            says, usual = said[one.name], getattr(default, one.name)
            yield Key((*where, one.name), kind_of(type(value)), value, usual, says)


def _services(where: tuple[str, ...], services: Mapping[str, int]) -> Iterator[Key]:
    for service, days in services.items():
        yield Key((*where, "services", service), "number", days, None, "")
