"""Print the moves of the aliases, newest first: who moved what, when, why, and what the gate said.

    python src/history.py                       all aliases
    python src/history.py --alias production    one of them
    python src/history.py --json                everything that is recorded, for programs

It reads the ledger in MLflow (experiment mlops-lab-01-ledger). A move that was interrupted is
finished first, and that is said.
"""

import heapq
import json
from itertools import islice
from typing import Any

from churn import cli, moves, server
from churn.environment import read_environment
from churn.ledger import Entry, Ledger
from churn.registry import ALIASES, Registry

SHOWN = 20


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--alias", choices=ALIASES, help="the moves of one alias")
    parser.add_argument(
        "--limit", type=cli.whole_number, metavar="N", help=f"how many moves (default {SHOWN})"
    )
    parser.add_argument("--json", action="store_true", help="all moves, with all that is recorded")
    arguments = parser.parse_args()

    ledger = Ledger(Registry(server.connect(read_environment())))
    aliases = [arguments.alias] if arguments.alias else list(ALIASES)
    for alias in aliases:
        moves.settle(ledger, alias)
    newest_first = heapq.merge(
        *(ledger.entries(alias) for alias in aliases),
        key=lambda entry: entry.move.at,
        reverse=True,
    )
    told = (entry for entry in newest_first if entry.number or entry.move.to_version)
    limit = arguments.limit or (None if arguments.json else SHOWN)
    shown = list(islice(told, limit))
    if arguments.json:
        cli.step(json.dumps([described(ledger, entry) for entry in shown], indent=2))
        return
    if not shown:
        cli.step("no alias has been moved yet; python src/promote.py moves one")
        return
    for line in cli.table([HEADING, *map(row, shown)]):
        cli.step(line)
    if next(told, None):
        cli.step(f"… and older ones: --limit N shows more than {limit}")


HEADING = ("at", "alias", "from", "to", "command", "who", "gate", "why")


def row(entry: Entry) -> tuple[str, ...]:
    """What a person sees of an entry on one line."""
    move = entry.move
    why = [move.reason, f"FORCED although it {move.forced}" if move.forced else ""]
    return (
        move.at[:19].replace("T", " "),
        move.alias,
        move.from_version or "-",
        move.to_version or "-",
        move.command,
        move.who,
        move.gate or "-",
        "; ".join(text for text in why if text)[:120],
    )


def described(ledger: Ledger, entry: Entry) -> dict[str, Any]:
    """All that is recorded of an entry."""
    move = entry.move
    return {
        "at": move.at,
        "alias": move.alias,
        "from": move.from_version or None,
        "to": move.to_version or None,
        "command": move.command,
        "reason": move.reason,
        "who": move.who,
        "forced": move.forced or None,
        "gate": move.gate or None,
        "gate_reason": move.gate_reason or None,
        "comparison": move.comparison or None,
        "numbers": dict(move.numbers),
        "git_commit": move.git_commit,
        "number": entry.number,
        "run_id": entry.run_id,
        "run_url": ledger.run_url(entry),
    }


if __name__ == "__main__":
    cli.run(main)
