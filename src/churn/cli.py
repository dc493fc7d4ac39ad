"""How a command talks to a person: arguments, one line a step, one line for an error."""

import argparse
import inspect
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from churn.errors import UsageError, UserError

Item = TypeVar("Item")


class Parser(argparse.ArgumentParser):
    """argparse, with errors of one line like every other error of the project."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def parser(description: str | None) -> Parser:
    """A parser whose --help shows the script's docstring as it is written."""
    return Parser(
        prog=f"python src/{Path(sys.argv[0]).name}",
        description=inspect.cleandoc(description or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def version_number(text: str) -> str:
    """The argparse type of --version: a model version is a whole number from 1."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a version number (1, 2, 3, …)")
    return str(int(text))


def whole_number(text: str) -> int:
    """The argparse type of a count: a whole number from 1."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def add_move_arguments(parser: Parser) -> None:
    """What promote.py and rollback.py both take; `check_move_arguments` belongs to it."""
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the ledger")
    parser.add_argument(
        "--expect",
        type=_version_or_none,
        metavar="N",
        help="move only if the alias is at version N now (`none`: at no version)",
    )
    parser.add_argument(
        "--force", action="store_true", help="override what speaks against it; needs --reason"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would happen")


def check_move_arguments(arguments: argparse.Namespace) -> None:
    """Raises UsageError where a move is forced and nobody says why."""
    if arguments.force and not arguments.reason.strip():
        raise UsageError("--force needs --reason TEXT: the ledger keeps why a rule was overridden")


def _version_or_none(text: str) -> str:
    return "" if text == "none" else version_number(text)


def step(message: str) -> None:
    """One line for a person about what was just done."""
    print(message, flush=True)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines with aligned columns, the first being the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def warn(message: str) -> None:
    """One line on stderr about what is wrong and no error."""
    print(f"warning: {' '.join(message.split())}", file=sys.stderr, flush=True)


def progress(items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
    """`items` with a progress bar on a terminal, shown only if they take over two seconds."""
    from tqdm import tqdm

    return iter(tqdm(items, desc=label, total=total, delay=2, disable=None, leave=False))


def progress_by_size(label: str, total: int) -> Any:
    """A progress bar on a terminal whose update() takes how much has been done since."""
    from tqdm import tqdm

    return tqdm(desc=label, total=total, unit_scale=True, delay=2, disable=None, leave=False)


class Terminated(BaseException):
    """SIGTERM has come, to a script that closes what it has open before it ends."""


def terminate(_signum: int, _frame: object) -> NoReturn:
    """A handler of SIGTERM: it ends the script as Ctrl-C does."""
    raise Terminated


def run(main: Callable[[], None]) -> NoReturn:
    """Call a script's main() and end the process: 0, or the exit code of what went wrong.

    A UserError or an error of the operating system (disk full, no permission) ends in one line.
    Anything else is a defect of the program and keeps its traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not every terminal can show an arrow
            stream.reconfigure(errors="replace")
    try:
        main()
    except UserError as error:
        fail(str(error), error.exit_code)
    except BrokenPipeError:  # the reader of our output (head, less) has left
        abandon_broken_output()
        sys.exit(1)
    except OSError as error:
        abandon_broken_output()
        where = f": {error.filename}" if error.filename else ""
        fail(f"{error.strerror or error}{where}", UserError.exit_code)
    except KeyboardInterrupt:
        fail("stopped by the keyboard", 130)
    except Terminated:
        fail("stopped by SIGTERM", 143)
    sys.exit(0)


def abandon_broken_output() -> None:
    """Send what a broken stdout holds nowhere: Python would try again at its end, and fail."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(message: str, exit_code: int) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    sys.exit(exit_code)
