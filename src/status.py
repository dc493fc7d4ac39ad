"""Print where every version is in its life, where the aliases point, and what each API serves.

    python src/status.py                 the newest versions, the aliases, the APIs of API_URLS
    python src/status.py --json          the same for programs
    python src/status.py --sync          rebuild registry/ from MLflow first

A version is registered, rejected by its gate, in staging, in production, retired, or rolled back.
An alias that was moved outside the ledger is marked, and so is an API that serves something else.
A commit with a + had uncommitted changes.
"""

import json
from itertools import islice
from typing import Any

from churn import cli, lifecycle, mirror, moves, server
from churn.apis import Api, ask
from churn.environment import read_environment
from churn.ledger import Ledger, Move
from churn.registry import ALIASES, MODEL, PRODUCTION, Registry, Tag, Version

SHOWN = 20
HEADING = ("version", "state", "gate", "F1", "ROC-AUC", "aliases", "created", "commit", "data")


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--sync", action="store_true", help="rebuild registry/ from MLflow")
    parser.add_argument(
        "--limit", type=cli.whole_number, default=SHOWN, metavar="N", help="how many versions"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    environment = read_environment()
    registry = Registry(server.connect(environment))
    ledger = Ledger(registry)
    for alias in ALIASES:
        moves.settle(ledger, alias)
    moves.settle_openings(ledger)
    if arguments.sync:
        mirror.write(registry)
        cli.warn("registry/ is rebuilt") if arguments.json else cli.step("registry/ is rebuilt")
    versions = list(islice(registry.versions(), arguments.limit))
    standings = {alias: moves.look(ledger, alias) for alias in ALIASES}
    history = {alias: list(standing.moves) for alias, standing in standings.items()}
    scores = registry.metrics([version.run_id for version in versions])
    apis = [ask(url, environment.API_KEY) for url in environment.API_URLS]

    if arguments.json:
        found = {
            "aliases": {alias: described(history[alias]) for alias in ALIASES},
            "versions": [
                entry(version, history[PRODUCTION], scores.get(version.run_id, {}), apis)
                for version in versions
            ],
            "apis": [vars(api) for api in apis],
        }
        cli.step(json.dumps(found, indent=2))
        return
    for alias in ALIASES:
        cli.step(f"{alias:<11} {where(history[alias])}")
    for api in apis:
        cli.step(f"{'API':<11} {api.url} {told(api, standings[PRODUCTION].version)}")
    if versions:
        rows = [row(v, history[PRODUCTION], scores.get(v.run_id, {})) for v in versions]
        cli.step("")
        for line in cli.table([HEADING, *rows]):
            cli.step(line)
    else:
        cli.step(f"{MODEL} has no version yet: `dvc repro` trains one")


def where(past: list[Move]) -> str:
    """Where an alias points and how it came there, by its moves, newest first."""
    if not past:
        return "points to nothing"
    last = past[0]
    to = f"version {last.to_version}" if last.to_version else "points to nothing"
    if last.command == moves.OUTSIDE and not last.at:
        return (
            f"{to}, MOVED OUTSIDE THE LEDGER, which has it at {last.from_version or 'none'};"
            " the next promote.py or rollback.py records it"
        )
    return f"{to}, {last.told}"


def told(api: Api, at: str) -> str:
    """What an API serves, beside the version that the alias production is at."""
    if not api.answers:
        return str(api.problem)
    said = f"serves version {api.version or 'none'}"
    if api.version != (at or None):
        said += f", NOT version {at or 'none'}"
    return f"{said}: {api.problem}" if api.problem else said


def described(past: list[Move]) -> dict[str, Any]:
    """Where an alias points, for programs."""
    last = past[0] if past else None
    return {
        "version": (last.to_version or None) if last else None,
        "since": last.at if last else None,
        "by": last.who if last else None,
        "outside_ledger": bool(last and last.command == moves.OUTSIDE and not last.at),
    }


def row(version: Version, past: list[Move], scores: dict[str, float]) -> tuple[str, ...]:
    """What a person sees of a version on one line."""
    clean = "" if version.tags.get(Tag.GIT_CLEAN) == "true" else "+"
    return (
        version.number,
        lifecycle.state(version, past),
        version.gate or "-",
        f"{scores['f1']:.4f}" if "f1" in scores else "-",
        f"{scores['roc_auc']:.4f}" if "roc_auc" in scores else "-",
        ", ".join(version.aliases) or "-",
        version.created[:16].replace("T", " "),
        version.tags.get(Tag.GIT_COMMIT, "-")[:10] + clean,
        version.tags.get(Tag.RAW_SHA256, "-")[:10],
    )


def entry(
    version: Version, past: list[Move], scores: dict[str, float], apis: list[Api]
) -> dict[str, Any]:
    """All that is known of a version, for programs."""
    return {
        "version": version.number,
        "state": lifecycle.state(version, past),
        "created": version.created,
        "gate": version.gate or None,
        "gate_reason": version.gate_reason or None,
        "unservable": version.unservable or None,
        "metrics": scores,
        "aliases": list(version.aliases),
        "served_by": [api.url for api in apis if api.version == version.number],
        **version.lineage,
    }


if __name__ == "__main__":
    cli.run(main)
