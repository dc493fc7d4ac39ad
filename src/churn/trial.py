"""The trial of a version, as a process of its own: `python -m churn.trial VERSION [CHAMPION …]`.

The version is loaded as the API loads it and must answer its example as in training. Then it is
compared with each champion on the rows of data/raw.csv that neither was trained on. A model that
ends its process, by a crash or for want of memory, ends this one and no other. challenge.py reads
the JSON that is printed.
"""

import json
import sys
from dataclasses import dataclass
from typing import Any

import polars as pl

from churn import cli, comparison, paths, settings, split, table
from churn.comparison import Answers
from churn.environment import read_environment
from churn.errors import Unreachable, UserError
from churn.registry import Registry
from churn.rest import Mlflow
from churn.schema import ModelSchema
from churn.served import Served


@dataclass(frozen=True)
class Seen:
    """The snapshot as one version sees it: its clean features, the target (1 or 0), and which rows
    belong to its test split."""

    features: pl.DataFrame
    target: pl.Series
    unseen: pl.Series


def main() -> None:
    number, *champions = sys.argv[1:]
    registry = Registry(Mlflow(read_environment()))
    try:
        challenger = Served.load(registry, registry.version(number))
    except Unreachable:
        raise
    except UserError as error:
        print(json.dumps({"problem": str(error), "against": {}}))
        return
    against = {}
    raw: pl.DataFrame | None = None
    for champion in champions:
        try:
            raw = distinct_rows() if raw is None else raw
            against[champion] = contest(raw, challenger, registry, champion)
        except Unreachable:
            raise
        except UserError as error:
            against[champion] = {"problem": str(error)}
    print(json.dumps({"problem": "", "against": against}))


def distinct_rows() -> pl.DataFrame:
    """The snapshot without exact copies of rows."""
    raw = table.read_raw()
    return raw.filter(~table.repeated(raw))


def contest(
    raw: pl.DataFrame, challenger: Served, registry: Registry, champion_number: str
) -> dict[str, Any]:
    """The challenger against a champion. Raises UserError where they cannot be compared."""
    params = settings.read_params()
    champion = Served.load(registry, registry.version(champion_number))
    ours, theirs = (seen(raw, served.scorer.schema) for served in (challenger, champion))
    if (ours.target != theirs.target).any():
        raise UserError("they predict different targets")
    rows = ours.unseen & theirs.unseen
    target = ours.target.filter(rows)
    if target.n_unique() < 2:
        raise UserError(
            f"{paths.shown(paths.RAW)} has {len(target):,} rows that neither was trained on, and"
            " both classes are needed"
        )
    differences = comparison.compare(
        target.to_numpy(),
        answers(challenger, ours.features.filter(rows)),
        answers(champion, theirs.features.filter(rows)),
        params.train.seed,
    )
    decisive = differences[params.promote.compare_by]
    return {
        "told": f"{decisive} on {len(target):,} rows that neither was trained on",
        "numbers": {"rows": float(len(target)), **comparison.flat(differences)},
        "worse": decisive.worse_by_more_than(params.promote.max_regression),
        "better": decisive.gain > 0,
        "max_regression": params.promote.max_regression,
    }


def seen(raw: pl.DataFrame, schema: ModelSchema) -> Seen:
    """The snapshot as a version with this schema sees it. Raises UserError where it cannot."""
    rule = schema.split
    if rule is None:
        raise UserError("one was trained before models recorded how their rows were split")
    needed = [*schema.features, schema.target, *([rule.id] if rule.id else [])]
    lost = [name for name in needed if name not in raw.columns]
    if lost:
        raise UserError(f"{paths.shown(paths.RAW)} has no column {', '.join(lost)}")
    target, problems = table.encode_target(
        raw[schema.target], schema.positive, schema.missing_values
    )
    if problems:
        raise UserError(f"{paths.shown(paths.RAW)}: {problems[0]}")
    features, _ = table.clean_features(raw, schema)
    identities = table.identities(raw, features, rule.id).to_list()
    splits = pl.Series(split.assign(identities, rule.test_size, rule.salt))
    return Seen(features, target, splits == split.TEST)


def answers(served: Served, features: pl.DataFrame) -> Answers:
    scorer = served.scorer
    return Answers(scorer.probabilities(scorer.encode_frame(features)), scorer.schema.threshold)


if __name__ == "__main__":
    cli.run(main)
