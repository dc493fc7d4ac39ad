"""What a check of doctor.py found."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from churn.errors import UserError

OK, NOTE, BAD = "ok", "note", "BAD"

Found = Iterator[tuple[str, str, str]]
"""What a check yields: one state, what there is to say and how to mend it, for each thing."""


@dataclass(frozen=True)
class Finding:
    """What a check found: `state` is OK, NOTE (worth knowing, no failure) or BAD; `said` and `mend`
    are one line each, and say what is so and what to do about it."""

    check: str
    state: str
    said: str
    mend: str = ""


def findings(check: str, look: Callable[[], Found]) -> Iterator[Finding]:
    """What the check finds. What keeps it from looking, such as a file without permission or a
    server that has gone, is a finding too; a defect of the program keeps its traceback."""
    try:
        for state, said, mend in look():
            yield Finding(check, state, _one_line(said), _one_line(mend))
    except UserError as error:
        yield Finding(check, BAD, _one_line(str(error)))
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        yield Finding(check, BAD, _one_line(f"{error.strerror or error}{where}"), "see to that")


def _one_line(text: str) -> str:
    return " ".join(text.split())
