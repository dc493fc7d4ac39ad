"""Look for what goes wrong in practice, and say how to mend it. Nothing is started or changed.

    python src/doctor.py             a line for each finding: ok, note (no failure) or BAD
    python src/doctor.py --json      the same for programs, as a list of objects

It looks at the installed packages, the disks, this checkout's MLflow database, the server, where
files are kept, the ledger and the aliases, whether the version in production loads, what the APIs
of API_URLS serve, whether DVC has the data of production, and registry/. Ends with 1 if something
is BAD.
"""

import json
import sys

from churn import checkup, cli
from churn.environment import read_environment
from churn.finding import BAD, NOTE, Finding


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--json", action="store_true", help="print a list of objects")
    arguments = parser.parse_args()
    found = []
    for finding in checkup.examine(read_environment()):
        found.append(finding)
        if not arguments.json:
            cli.step(line(finding))
    if arguments.json:
        cli.step(json.dumps([vars(finding) for finding in found], indent=2, ensure_ascii=False))
    else:
        cli.step(summary(found))
    if any(finding.state == BAD for finding in found):
        sys.exit(1)


def line(finding: Finding) -> str:
    """The finding as a person reads it."""
    mend = f" → {finding.mend}" if finding.mend else ""
    return f"{finding.state:<4}  {finding.check:<14}  {finding.said}{mend}"


def summary(found: list[Finding]) -> str:
    states = [finding.state for finding in found]
    bad, notes = states.count(BAD), states.count(NOTE)
    said = f"{bad} of {len(found)} findings BAD" if bad else f"{len(found)} findings, none BAD"
    return f"{said}, {notes} {'note' if notes == 1 else 'notes'}" if notes else said


if __name__ == "__main__":
    cli.run(main)
