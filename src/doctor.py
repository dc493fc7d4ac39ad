"""Look for what goes wrong in practice, and say how to mend it. Nothing is started or changed.

    python src/doctor.py             one line a finding: ok, note (no failure) or BAD
    python src/doctor.py --json      the same for programs

It looks at the installed packages, the disk, this checkout's MLflow database, the server, where
files are kept, the ledger and the aliases, whether the version in production loads, what the APIs
of API_URLS serve, whether DVC has the data of production, and registry/. Ends with 1 if something
is BAD.
"""

import sys

from churn import checkup, cli
from churn.checkup import BAD, Finding
from churn.environment import read_environment


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--json", action="store_true", help="print a list of objects")
    arguments = parser.parse_args()
    found = []
    for finding in checkup.examine(read_environment()):
        found.append(finding)
        if not arguments.json:
            cli.step(line(finding))
    bad = sum(finding.state == BAD for finding in found)
    if arguments.json:
        cli.step(checkup.as_json(found))
    else:
        cli.step(f"{bad} of {len(found)} findings are BAD" if bad else "nothing is wrong")
    if bad:
        sys.exit(1)


def line(finding: Finding) -> str:
    """The finding as a person reads it."""
    mend = f" → {finding.mend}" if finding.mend else ""
    return f"{finding.state:<5} {finding.check:<11} {finding.said}{mend}"


if __name__ == "__main__":
    cli.run(main)
