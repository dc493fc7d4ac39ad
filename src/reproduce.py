"""Build a version again from its commit and its data, and say whether the same model comes out.

    python src/reproduce.py --version 3
    python src/reproduce.py --version 3 --keep      keeps the folder in which it was built

The commit is checked out in a temporary folder, with the changes that were not committed then. The
data come from DVC's cache or remote. The commit's own stages prepare, train and evaluate run there
with an MLflow server of their own, so nothing is added to the real one. Then all metrics must be
equal, and the probabilities of the test split, to the last bit.

Ends with `reproduced` and 0, or with `not reproduced`, what differs or is missing, and 1.
"""

import re
import socket
from pathlib import Path

from churn import cli, reproduction, server, snapshot, worktree, yamlfile
from churn.environment import read_environment
from churn.errors import Unreachable, UserError
from churn.registry import MODEL, Registry, Tag, Version
from churn.reproduction import Original
from churn.rest import Mlflow
from churn.worktree import Worktree

STAGES = ("prepare", "train", "evaluate")


class NotReproduced(UserError):
    """The version did not come out again, or something that it was made of is missing."""


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--version", type=cli.version_number, metavar="N", required=True)
    parser.add_argument("--keep", action="store_true", help="keep the folder, and say where it is")
    arguments = parser.parse_args()
    registry = Registry(server.connect(read_environment()))
    version = registry.version(arguments.version)
    reasons: list[str] = []
    try:
        told, wrong = reproduce(registry, version, arguments.keep, reasons)
    except Unreachable:
        raise
    except UserError as error:
        told, wrong = [], [str(error)]
    if wrong:
        why = f". Likely because {' and '.join(reasons)}" if reasons else ""
        raise NotReproduced(f"not reproduced: version {version.number}: {'; '.join(wrong)}{why}")
    cli.step(f"reproduced: version {version.number}: {', '.join(told)}")


def reproduce(
    registry: Registry, version: Version, keep: bool, reasons: list[str]
) -> tuple[list[str], list[str]]:
    """What is equal, and what is not. `reasons` gets why something might differ."""
    commit, sha256 = made_from(version)
    original = reproduction.original(registry, version)
    cli.step(f"{MODEL} version {version.number}: commit {commit[:10]}, data {sha256[:10]}")
    reasons += doubts(original)
    for reason in reasons:
        cli.warn(reason)

    with worktree.checked_out(commit, keep) as tree:
        cli.step(f"the commit is {'kept' if keep else 'checked out'} in {tree.root}")
        if original.patch:
            names = ", ".join(worktree.touched(original.patch))
            cli.step(f"what was not committed, from MLflow, is applied and run: {names}")
            tree.apply(original.patch)
        md5 = version.tags.get(Tag.RAW_MD5) or snapshot.locked_md5(tree.root / "dvc.lock")
        source = snapshot.bring(sha256, md5, tree.root / "data" / "raw.csv")
        cli.step(f"data/raw.csv: the same SHA-256, from {source}")

        uri = f"http://127.0.0.1:{free_port()}"
        for stage, commands in commands_of(tree).items():
            for command in commands:
                cli.step(f"{stage}: {command}")
                tree.run(command, uri)
        return compare(registry, version, original, tree, uri)


def made_from(version: Version) -> tuple[str, str]:
    """The commit and the SHA-256 of the data that the version names."""
    commit, sha256 = (version.tags.get(name, "") for name in (Tag.GIT_COMMIT, Tag.RAW_SHA256))
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit):
        raise UserError(
            f"its tag {Tag.GIT_COMMIT} is {commit!r} and no commit: it was trained outside a git"
            " repository, or before its first commit"
        )
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise UserError(f"its tag {Tag.RAW_SHA256} is {sha256!r} and no hash of its data")
    return commit, sha256


def doubts(original: Original) -> list[str]:
    """Why the version might not come out the same."""
    found = []
    if original.unrecorded:
        found.append(
            "it was trained with uncommitted changes that were not recorded"
            f" ({original.unrecorded})"
        )
    others = reproduction.other_packages(original.packages)
    if others:
        found.append(f"it was made with {others}")
    return found


def commands_of(tree: Worktree) -> dict[str, list[str]]:
    """The commands of the stages, as the commit's dvc.yaml names them."""
    path: Path = tree.root / "dvc.yaml"
    stages = (yamlfile.read(path) or {}).get("stages", {})
    found = {}
    for name in STAGES:
        command = stages.get(name, {}).get("cmd")
        if not command:
            raise UserError(f"dvc.yaml of the commit has no stage {name} with a cmd")
        found[name] = [command] if isinstance(command, str) else list(command)
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def compare(
    registry: Registry, version: Version, original: Original, tree: Worktree, uri: str
) -> tuple[list[str], list[str]]:
    """The version against the one that was just built in the worktree."""
    other = Registry(Mlflow(read_environment({"MLFLOW_TRACKING_URI": uri})))
    built = other.versions()
    if not built:
        raise UserError(f"the commit's training registered no version of {MODEL}")
    evaluated = bool(version.gate)
    metrics = reproduction.compare_metrics(original.metrics, evaluated, other, built[0])
    processed = tree.root / "data" / "processed.csv"
    models = reproduction.compare_models(registry, version, other, built[0], processed)
    told, wrong = zip(metrics, models, strict=True)
    for line in filter(None, told):
        cli.step(line)
    return ["the same data", *told], list(filter(None, wrong))


if __name__ == "__main__":
    cli.run(main)
