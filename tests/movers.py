"""Many movers at once, some of them killed: `python tests/movers.py ROUNDS SEED`, in a project.

In each round eight processes move the alias `production` at about the same time, each by
rollback.py (to a version by its number, or to the one before) or by the move of a promotion. Some
are killed by SIGKILL: at a random moment, or before or after a random request to MLflow. After each
round the next command looks at what they left. Prints what happened, as JSON. The movers are
forked, so that starting them takes no time.
"""

import contextlib
import io
import itertools
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import rollback
from churn import moves
from churn.environment import read_environment
from churn.errors import Unreachable, UserError
from churn.ledger import Entry, Ledger, Move
from churn.registry import PRODUCTION, Registry
from churn.rest import Mlflow

MOVERS = 8
VERSIONS = ("1", "2", "3")


def main() -> None:
    rounds, seed = int(sys.argv[1]), int(sys.argv[2])
    chance = random.Random(seed)  # noqa: S311
    counts: Counter[str] = Counter(rounds=rounds, movers=rounds * MOVERS)
    succeeded: set[str] = set()
    killed: set[str] = set()
    refused: set[str] = set()
    for number in range(rounds):
        names = [f"{number}.{mover}" for mover in range(MOVERS)]
        victims = set(chance.sample(names, chance.randint(0, 4)))
        outcomes = play(names, victims, chance)
        for name, code in outcomes.items():
            counts[{0: "succeeded", 1: "refused", -9: "killed"}.get(code, f"ended {code}")] += 1
            {0: succeeded, -9: killed}.get(code, refused).add(name)
        look_after(counts)
    check(counts, succeeded, killed, refused)
    print(json.dumps(counts))


def play(names: list[str], victims: set[str], chance: random.Random) -> dict[str, int]:
    """Start the movers, kill the victims, and say how each ended."""
    running = {}
    for name in names:
        kind = chance.choice(["rollback", "named", "promotion"])
        to = chance.choice(VERSIONS)
        late = chance.choice([0, 0.3]) * chance.random()
        end = (chance.randint(1, 16), chance.choice(["before", "after"]))
        by_itself = name in victims and chance.random() < 0.7
        pid = os.fork()
        if pid == 0:
            time.sleep(late)
            if by_itself:
                die_at(*end)
            os._exit(mover(name, kind, to))
        running[name] = pid
        if by_itself:
            victims.discard(name)
    started = time.monotonic()
    for moment, name in sorted((0.6 * chance.random(), name) for name in sorted(victims)):
        time.sleep(max(0.0, moment - (time.monotonic() - started)))
        with contextlib.suppress(ProcessLookupError):
            os.kill(running[name], signal.SIGKILL)
    return {name: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for name, pid in running.items()}


def die_at(number: int, when: str) -> None:
    """Let this process be killed before its request `number` to MLflow is sent, or after it has
    been answered."""
    send = Mlflow._send
    sent = itertools.count(1)

    def send_or_die(self: Mlflow, *request: Any, **fields: Any) -> httpx.Response:
        last = next(sent) == number
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = send(self, *request, **fields)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    Mlflow._send = send_or_die  # type: ignore[method-assign]


def mover(name: str, kind: str, to: str) -> int:
    """One process; its exit code as the command would have it. Its name is the reason."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            if kind == "promotion":
                ledger = fresh_ledger()
                standing = moves.stand(ledger, PRODUCTION)
                if standing.version == to:
                    return 1
                move = Move(PRODUCTION, standing.version, to, "promote", name)
                moves.move(ledger, standing, move)
            else:
                named = ["--version", to, "--force"] if kind == "named" else []
                sys.argv = ["rollback.py", *named, "--reason", name]
                rollback.main()
        except Unreachable as error:
            # Nothing of this is meant to bring the server down.
            os.write(2, f"{name}: {error}\n".encode())
            return error.exit_code
        except UserError as error:
            return error.exit_code
        except BaseException as error:  # noqa: BLE001 - a forked process must not go on
            os.write(2, f"{name}: {error!r}\n{said.getvalue()}\n".encode())
            return 99
    return 0


def look_after(counts: Counter[str]) -> None:
    """What the next command finds after a round, and what it does about it."""
    ledger = fresh_ledger()
    last, undecided = ledger.end(PRODUCTION)
    counts["left undecided"] += len(undecided)
    at = ledger.registry.aliases().get(PRODUCTION, "")
    if last and last.done and at != last.move.to_version:
        counts["alias elsewhere than the end of the chain"] += 1
    if last and not last.done:
        counts["found half done and finished"] += 1
        with contextlib.redirect_stderr(io.StringIO()) as said:
            moves.settle(ledger, PRODUCTION)
        counts["and said so"] += "finished a move of production" in said.getvalue()
    end, _ = ledger.end(PRODUCTION)
    if end and ledger.registry.aliases().get(PRODUCTION, "") != end.move.to_version:
        counts["alias not at the end of the chain after the next command"] += 1
    for entry in undecided:  # as settle() does after a minute
        ledger.discard(entry)


def check(counts: Counter[str], succeeded: set[str], killed: set[str], refused: set[str]) -> None:
    """Count the entries of the chain, and each that should not be there or is missing."""
    entries = list(fresh_ledger().entries(PRODUCTION))[::-1]
    counts["entries"] = len(entries) - 1
    counts["breaks of the chain"] = breaks(entries)
    reasons = [entry.move.reason for entry in entries[1:]]
    counts["entries twice"] = len(reasons) - len(set(reasons))
    counts["entries lost"] = len(succeeded - set(reasons))
    counts["entries invented"] = len(set(reasons) - succeeded - killed)
    counts["entries of killed movers"] = len(set(reasons) & killed)
    counts["entries of refused movers"] = len(set(reasons) & refused)


def breaks(entries: list[Entry]) -> int:
    """Where an entry does not follow the one before it."""
    return sum(
        not (
            after.number == before.number + 1
            and after.previous == before.run_id
            and before.next == after.run_id
            and after.move.from_version == before.move.to_version
            and before.done
        )
        for before, after in itertools.pairwise(entries)
    )


def fresh_ledger() -> Ledger:
    return Ledger(Registry(Mlflow(read_environment())))


if __name__ == "__main__":
    main()
