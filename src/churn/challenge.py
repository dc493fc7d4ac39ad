"""What a version must stand before an alias moves to it: a trial in a process of its own, and the
comparison with the version that is there."""

import json
import subprocess
import sys
from dataclasses import dataclass

from churn import cli, moves, paths
from churn.errors import Unreachable, UserError
from churn.ledger import Ledger, Move, Overtaken
from churn.registry import CHAMPION, MODEL, Version

_SECONDS = 600


@dataclass(frozen=True)
class Comparison:
    """A challenger against a champion. `problem` says why they could not be compared; else `told`
    has the decisive metric with its interval, and `numbers` all of them."""

    problem: str = ""
    told: str = ""
    numbers: dict[str, float] | None = None
    worse: bool = False
    better: bool = False
    max_regression: float = 0.0

    def objection(self, champion: str) -> str:
        """What speaks against putting the challenger in the champion's place, if something does."""
        if self.problem:
            return f"cannot be compared with version {champion}: {self.problem}"
        if self.worse:
            return (
                f"is significantly worse than version {champion}: {self.told};"
                f" promote.max_regression allows {self.max_regression:g}"
            )
        return ""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: why the version cannot be served (empty if it can), and how it compares
    with each champion."""

    problem: str
    against: dict[str, Comparison]


def trial(version: Version, champions: list[str]) -> Outcome:
    """Load the version in a process of its own, as the API does, and compare it with others.

    Raises UserError for what is wrong besides the version, such as params.yaml or the server.
    """
    others = rivals(version, champions)
    command = [sys.executable, "-m", "churn.trial", version.number, *others]
    try:
        done = subprocess.run(
            command,
            cwd=paths.ROOT / "src",
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(f"its trial did not end in {_SECONDS} s", {})
    if done.returncode < 0:
        return Outcome(f"its trial was ended by signal {-done.returncode}", {})
    if done.returncode:
        raise _error(done)
    found = json.loads(done.stdout.splitlines()[-1])
    against = {number: Comparison(**result) for number, result in found["against"].items()}
    return Outcome(found["problem"], against)


def rivals(version: Version, champions: list[str]) -> list[str]:
    """The numbers among `champions` that the version can be compared with, each once."""
    return [number for number in dict.fromkeys(champions) if number not in ("", version.number)]


def announce(version: Version, champions: list[str]) -> None:
    """Say what is about to take some seconds."""
    others = rivals(version, champions)
    beside = f", and compares it with version {' and '.join(others)}" if others else ""
    cli.step(f"a process of its own loads version {version.number} as the API does{beside}")


def _error(done: subprocess.CompletedProcess[str]) -> UserError:
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if not said:  # a defect of the program keeps its traceback
        sys.stderr.write(done.stderr)
        return UserError("the trial ended with the traceback above")
    kind = Unreachable if done.returncode == Unreachable.exit_code else UserError
    return kind(said[-1].removeprefix("error: "))


def follow_champion(ledger: Ledger, version: Version, outcome: Outcome, command: str) -> None:
    """Move the alias `champion` to the version, which passed its gate, if it passed its trial and
    scores better than the champion on the same rows, or there is none."""
    if outcome.problem:
        cli.warn(f"{MODEL} version {version.number} cannot be served: {outcome.problem}")
        return
    standing = moves.stand(ledger, CHAMPION)
    if standing.version == version.number:
        return
    result = Comparison()
    if standing.version:
        result = outcome.against.get(standing.version, Comparison("it changed in the meantime"))
        if not result.better:
            why = result.problem or result.told
            cli.step(f"{CHAMPION} stays {MODEL} version {standing.version}: {why}")
            return
    move = Move(
        alias=CHAMPION,
        from_version=standing.version,
        to_version=version.number,
        command=command,
        reason="the best version that passed" if standing.version else "the first that passed",
        gate=version.gate,
        gate_reason=version.gate_reason,
        comparison=result.told,
        numbers=result.numbers or {},
    )
    try:
        moves.move(ledger, standing, move)
    except Overtaken as error:
        cli.warn(str(error))
        return
    cli.step(str(move))
