"""`neve backup`, and `neve restore backup`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from neve_steps import asked_there, tell
from storage.address import add_address
from storage.errors import ConfigError

DONE, FAILED = 0, 1
BACKUP, RELEASE = "/cold/backup", "/cold/backup/release"
ACTIONS = ("verify", "release")


def add_commands(commands: Any) -> None:
    """Add `backup`."""
    parser = commands.add_parser("backup", help="back a running server up, whole and as of one moment")
    parser.usage = (
        "neve backup [--with-cold | --no-with-cold] [--base DIR] [--without SHARD] DIR | verify DIR | "
        "release DIR"
    )
    parser.description = (
        "Backs a running server up into a new folder of its machine: all that it has acknowledged by then. `verify` "
        "compares a backup with its checksums; `release` gives up what it holds in the cold tier's warehouse."
    )
    parser.add_argument("words", nargs="+", metavar="DIR", help="the folder; before it, verify or release")
    parser.add_argument(
        "--with-cold",
        action=argparse.BooleanOptionalAction,
        help="copy the cold tier's files too; default: where they are in the data folder; others are held",
    )
    parser.add_argument(
        "--base", type=Path, metavar="DIR", help="an earlier backup: what it has is not copied again"
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="SHARD",
        help="of a cluster, a shard that is left out, since it is away: what is hot there will be missing",
    )
    add_address(parser)
    parser.set_defaults(run=run_backup)


def add_restore(actions: Any) -> None:
    """Add `restore backup`."""
    parser = actions.add_parser(
        "backup",
        help="make a server's data folder anew of a backup; the server is not running; or one lost shard",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="what neve backup made")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the new data folder (default: as configured, ./data)"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="its configuration; default: ./neve.toml, if there is one"
    )
    parser.add_argument(
        "--shard",
        metavar="NAME",
        help="of a cluster, this shard alone, while the others go on; the data folder is left as it is",
    )
    parser.set_defaults(run=run_restore)


def run_backup(args: argparse.Namespace) -> int:
    """One backup, said step by step; 1 where something stood in the way."""
    action, folder = _action(args.words)
    if action == "verify":
        from storage.backup.manifest import verify_all

        verify_all(folder, say)
        return DONE
    if action == "release":
        from storage.backup.manifest import read

        return _ask(args, RELEASE, {"id": read(folder).id})
    base = str(args.base.absolute()) if args.base is not None else None
    wish = {"folder": str(folder.absolute()), "with_cold": args.with_cold, "base": base}
    return _ask(args, BACKUP, {**wish, "without": args.without})


def run_restore(args: argparse.Namespace) -> int:
    """Restore; what was done is said."""
    from neve_restore import Restoring
    from neve_restore_shard import RestoringShard
    from neve_serve import ServeConfig, config_file, read_config

    file = config_file(args.config)
    config = read_config(file) if file else ServeConfig()
    config = replace(config, data=(args.data or config.data).absolute())
    folder = args.folder.absolute()
    if args.shard is not None:
        RestoringShard(folder, config, args.shard, say).run()
    else:
        Restoring(folder, config, say).run()
    return DONE


def say(text: str) -> None:
    """A line, seen at once."""
    print(text, flush=True)


def _action(words: list[str]) -> tuple[str, Path]:
    match words:
        case [action, folder] if action in ACTIONS:
            return action, Path(folder)
        case [folder] if folder not in ACTIONS:
            return "", Path(folder)
    raise ConfigError(f"cannot use {' '.join(words)!r}", "say neve backup DIR, verify DIR or release DIR")


def _ask(args: argparse.Namespace, path: str, asked: dict[str, Any]) -> int:
    failed = False
    for said in asked_there(args.url, path, asked):
        failed |= tell(said)
    return FAILED if failed else DONE
