"""Check, clean and split the raw data: data/raw.csv → data/processed.csv.

    dvc repro prepare

Every value is held to data/schema.yaml; whatever does not fit is named at once, with the lines
where it stands. Exact duplicates are dropped. Each row gets a split by a stable hash of its
identity, so that a customer stays on the same side in every later snapshot.
"""

import pandas as pd

from churn import cli, files, paths, settings, split, table
from churn.schema import SPLIT, read_schema


def main() -> None:
    cli.parser(__doc__).parse_args()
    params = settings.read_params()
    schema = read_schema()
    data = params.data

    raw = table.read_raw()
    table.check_columns(list(raw.columns), schema, data)
    features = table.clean_features(raw, schema)
    target = table.encode_target(raw[data.target], data.positive, schema.missing_values)
    identity = table.identities(raw, features, data.id)

    processed = features.assign(**{data.target: target})
    processed[SPLIT] = split.assign(identity, params.split.test_size, params.split.salt)
    unused = raw[[*data.drop, *([data.id] if data.id else [])]]
    repeated = pd.concat([processed, unused.add_prefix("raw ")], axis=1).duplicated()
    processed = processed[~repeated]
    check_splits(processed, data.target)

    with files.replacing(paths.PROCESSED) as temporary:
        table.write_processed(processed, schema, temporary)
    tests = int((processed[SPLIT] == split.TEST).sum())
    cli.step(
        f"{paths.shown(paths.PROCESSED)}: {len(processed):,} rows"
        f" ({len(processed) - tests:,} train, {tests:,} test),"
        f" {processed[data.target].mean():.1%} {data.target} = {data.positive},"
        f" {int(repeated.sum()):,} exact duplicates dropped"
    )


def check_splits(processed: pd.DataFrame, target: str) -> None:
    """Both classes stand in both splits, or there is nothing to learn or to measure."""
    for name in (split.TRAIN, split.TEST):
        labels = processed.loc[processed[SPLIT] == name, target]
        if labels.nunique() < 2:
            raise table.TableError(
                f"the {name} split has {len(labels):,} rows and {int(labels.sum()):,} positives;"
                " it needs both classes: more rows, or another split.test_size or split.salt"
            )


if __name__ == "__main__":
    cli.run(main)
