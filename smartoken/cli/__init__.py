"""The command `smartoken`. Each file here with a `register(app)` brings a command; only the one asked for is imported.

What people can mend (ConfigError, Refusal, StoreAway) is said in one sentence on stderr, with exit code 2; anything
else is our fault: one sentence and exit code 70. `--debug` shows the trace of either.
"""

import os
import pkgutil
import sys
import traceback
from importlib import import_module
from typing import Annotated

import typer

from smartoken.errors import ConfigError, Refusal, StoreAway

WRONG, OUR_FAULT = 2, 70
ConfOption = Annotated[str | None, typer.Option("--conf", help="Configuration file (env SMARTOKEN_CONF).")]


def main() -> None:
    """Entry point: runs the command of sys.argv and exits."""
    words = sys.argv[1:]
    try:
        build(words)(prog_name="smartoken")
    except (ConfigError, Refusal) as err:
        _end(err, f"smartoken: {err}", WRONG, words)
    except StoreAway as err:
        _end(err, f"smartoken: {err.sentence()}", WRONG, words)
    except Exception as err:
        _end(err, f"smartoken: unexpected {type(err).__name__}: {err} (`smartoken --debug …` shows where)", OUR_FAULT,
             words)


def build(words: list[str]) -> typer.Typer:
    """The app with the command that `words` ask for; with all, and the plugins' own, when that is none of ours."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                      help="A self-hosted gateway that sells tokens behind an OpenAI-compatible door.")
    app.callback()(_general)
    ours = {module.name for module in pkgutil.iter_modules(__path__)}
    asked = _first_word(words)
    for name in [asked] if asked in ours else sorted(ours):
        register = getattr(import_module(f"{__name__}.{name}"), "register", None)
        if register is not None:
            register(app)
    if asked is not None and asked not in ours and asked not in _names(app):
        _add_plugin_commands(app, words)
    elif asked is None and "--help" in words:
        try:
            _add_plugin_commands(app, words)
        except ConfigError as err:         # help is asked for when something is wrong, too
            print(f"The plugins' own commands are left out: {err}", file=sys.stderr)
    return app


def use_conf(path: str | None) -> None:
    """Make `path` the configuration of this process and its children."""
    if path:
        os.environ["SMARTOKEN_CONF"] = path


def _general(conf: ConfOption = None,
             debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error.")] = False) -> None:
    use_conf(conf)


def _first_word(words: list[str]) -> str | None:
    """The command among the words: the first that is neither an option nor the value of --conf."""
    rest = iter(words)
    for word in rest:
        if word == "--conf":
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return None


def _names(app: typer.Typer) -> set[str]:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    return commands | {group.name for group in app.registered_groups}


def _add_plugin_commands(app: typer.Typer, words: list[str]) -> None:
    from smartoken.cli._books import with_books
    from smartoken.conf import load
    from smartoken.plugin import loader

    loader.load(load(_conf_of(words))).commands(app, with_books)


def _conf_of(words: list[str]) -> str | None:
    """The file that --conf names, in either way of writing it."""
    for word, next_word in zip(words, [*words[1:], None], strict=True):
        if word == "--conf":
            return next_word
        if word.startswith("--conf="):
            return word.removeprefix("--conf=")
    return None


def _end(err: Exception, sentence: str, code: int, words: list[str]) -> None:
    if "--debug" in words:
        traceback.print_exception(err)
    print(sentence, file=sys.stderr)
    sys.exit(code)
