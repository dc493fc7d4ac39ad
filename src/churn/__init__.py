"""What the scripts in src/ share: one noun a module."""

import sys
from types import TracebackType


def _one_line(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Ctrl-C while a script still imports, which takes seconds, is one line as in cli.run."""
    if kind is KeyboardInterrupt:
        print("error: stopped by the keyboard", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _one_line
