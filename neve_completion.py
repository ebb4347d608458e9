"""`neve completion bash|zsh|fish`: a script that completes commands, options and their values, made from the parsers.

eval "$(neve completion bash)"            # in ~/.bashrc; zsh likewise in ~/.zshrc
neve completion fish > ~/.config/fish/completions/neve.fish
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import neve

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class Option:
    """One way to write an option; `values`: what it takes, where these are known."""

    flag: str
    help: str
    takes: bool
    values: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """A command by its words: `search`, or `deadletter list`."""

    words: tuple[str, ...]
    help: str
    options: tuple[Option, ...]
    values: tuple[str, ...]  # of what is no option: choices, or the commands below


def add_commands(subparsers: Any) -> None:
    """Add the command to an argparse sub-parsers object."""
    help_ = "a script for the shell that completes neve's commands and options"
    epilog = 'bash, zsh: eval "$(neve completion bash)"; fish: neve completion fish | source'
    parser = subparsers.add_parser("completion", help=help_, description=help_, epilog=epilog)
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    print(script(args.shell, list(commands(neve.build_parser()))))
    return neve.DONE


def commands(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = (), help_: str = ""
) -> Iterator[Command]:
    """Every command that a parser knows, the outermost first."""
    options: list[Option] = []
    values: list[str] = []
    below: list[tuple[str, argparse.ArgumentParser, str]] = []
    for action in parser._actions:  # argparse has no other way to ask
        choices = tuple(map(str, action.choices or ()))
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            below = [(name, one, helps.get(name, "")) for name, one in action.choices.items()]
            values += choices
        elif action.option_strings:
            takes = action.nargs != 0
            said = "" if action.help in (None, argparse.SUPPRESS) else str(action.help)
            options += [Option(flag, said, takes, choices if takes else ()) for flag in action.option_strings]
        else:
            values += choices
    yield Command(words, help_, tuple(options), tuple(values))
    for name, one, said in below:
        yield from commands(one, (*words, name), said)


def script(shell: str, known: list[Command]) -> str:
    """The script for a shell."""
    return _fish(known) if shell == "fish" else _bash(known, zsh=shell == "zsh")


def _bash(known: list[Command], *, zsh: bool) -> str:
    """Words are offered; where none fits, files."""
    cases = []
    for command in known:
        path = " ".join(command.words)
        for option in command.options:
            if option.takes:  # its values where they are known, else files
                values = " ".join(option.values)
                cases.append(f"    {shlex.quote(f'{path}:{option.flag}')}) words={shlex.quote(values)} ;;")
        offered = [*command.values, *(option.flag for option in command.options)]
        cases.append(f"    {shlex.quote(path)}:*) words={shlex.quote(' '.join(offered))} ;;")
    paths = " ".join(shlex.quote(" ".join(command.words)) for command in known if command.words)
    lines = [
        *(["autoload -U +X compinit bashcompinit && compinit -u && bashcompinit"] if zsh else []),
        "_neve() {",
        '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" path="" words="" next i',
        "  for ((i = 1; i < COMP_CWORD; i++)); do",
        '    next="${path:+$path }${COMP_WORDS[i]}"',
        f"    for known in {paths}; do",
        '      [ "$known" = "$next" ] && path="$next"',
        "    done",
        "  done",
        '  case "$path:$before" in',
        *cases,
        "  esac",
        '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
        "}",
        "complete -o default -F _neve neve",
    ]
    return "\n".join(lines)


def _fish(known: list[Command]) -> str:
    lines = []
    for command in known:
        names = {
            name for one in known if one.words[:-1] == command.words and one.words for name in one.words[-1:]
        }
        inside = "".join(f"; and __fish_seen_subcommand_from {word}" for word in command.words)
        outside = f"; and not __fish_seen_subcommand_from {' '.join(sorted(names))}" if names else ""
        when = f"-n {shlex.quote(f'true{inside}{outside}')}"
        for one in known:
            if one.words and one.words[:-1] == command.words:
                lines.append(f"complete -c neve -f {when} -a {one.words[-1]} -d {shlex.quote(one.help)}")
        rest = [value for value in command.values if value not in names]
        if rest:
            lines.append(f"complete -c neve -f {when} -a {shlex.quote(' '.join(rest))}")
        for option in command.options:
            flag = f"-l {option.flag[2:]}" if option.flag.startswith("--") else f"-s {option.flag[1:]}"
            takes = f" -r{' -f -a ' + shlex.quote(' '.join(option.values)) if option.values else ''}"
            lines.append(
                f"complete -c neve {when} {flag}{takes if option.takes else ''} -d {shlex.quote(option.help)}"
            )
    return "\n".join(lines)
