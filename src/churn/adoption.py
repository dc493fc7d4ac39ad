"""A proposal for a new table as the files that a person reads and edits, and as a printed table."""

import math
from typing import Any

from churn import yamlfile
from churn.column import Column
from churn.profile import Profile
from churn.proposal import Proposal
from churn.schema import Checks

GATE_MARGIN = 0.05
_LISTED = 50
_SEGMENTS = 3
_SEGMENT_VALUES = 8

_HEAD = """\
What each column of data/raw.csv means, as adopt_data.py found it. Read it and edit it:
prepare_data.py holds every later snapshot to it, and /predict every request.

  type      integer, number, boolean (values: [negative, positive]), category, date (format), or
            what is never a feature: text, identifier
  use       no: the column is no feature, for the reason in its note; yes brings it back
  min, max  hard limits: a value beyond them is no customer
  values    the categories; leave it out to take any; fold: yes takes any case, space and accent
  nullable  yes if a value may be missing; missing_values are texts that mean so in this column
  missing_rate, positive_rate   what the table held when it was adopted
  tolerance by how much a later snapshot may differ from these rates
  checks    error, warning or ignore, for each way in which a snapshot can differ

Target, id and dropped columns are named in params.yaml."""


def schema_text(proposal: Proposal, profile: Profile, outside: set[str]) -> str:
    """data/schema.yaml for the table, with what was found as comments; without the columns of
    `outside`, which params.yaml names."""
    # A category that is new is met by the model as a rare one: no reason to stop.
    checks = Checks(categories="warning")
    columns = {
        name: _described(column) for name, column in proposal.columns.items() if name not in outside
    }
    document = yamlfile.written(
        {
            "missing_values": [""],
            "positive_rate": float(f"{profile.positive_rate:.3g}"),
            "tolerance": 0.05,
            "checks": checks.model_dump(),
            "columns": columns,
        }
    )
    found = [f"{number}. {f.said}" for number, f in enumerate(proposal.findings, 1)]
    noticed = ["", "What was found in the table:", *found] if found else []
    document.yaml_set_start_comment("\n".join([_HEAD, *noticed]) + "\n\n")
    for key in ("checks", "columns"):
        document.yaml_set_comment_before_after_key(key, before="\n")
    return yamlfile.dumped(document)


def _described(column: Column) -> dict[str, Any]:
    """The column's keys that are not their defaults, those that a reader looks for first."""
    given = column.model_dump(exclude_defaults=True)
    if len(column.values) > _LISTED:
        del given["values"]
    for limit in {"min", "max"} & set(given):
        given[limit] = column.given(given[limit])
    first = {key: given.pop(key) for key in ("type", "use", "note") if key in given}
    return first | given


def params_changes(
    source: str, target: str, positive: str, proposal: Proposal, profile: Profile
) -> dict[str, object]:
    """What changes in params.yaml, by dotted keys."""
    return {
        "data.source": source,
        "data.target": target,
        "data.positive": positive,
        "data.drop": [],
        "data.id": proposal.id,
        "train.model": "auto",
        "evaluate.gate_f1": gate_f1(profile.positive_rate),
        "evaluate.segments": segments(proposal, profile),
    }


def best_naive_f1(positive_rate: float) -> float:
    """The F1 of calling everybody positive, which no answer that looks at no feature beats."""
    return 2 * positive_rate / (1 + positive_rate)


def gate_f1(positive_rate: float) -> float:
    """The best naive F1 plus GATE_MARGIN, or plus a quarter of what is left to 1 if that is less.

    Rounded down to three digits.
    """
    naive = best_naive_f1(positive_rate)
    return math.floor((naive + min(GATE_MARGIN, (1 - naive) / 4)) * 1000) / 1000


def segments(proposal: Proposal, profile: Profile) -> list[str]:
    """The columns with a few values that alone tell most of the target: their groups are worth
    scoring one by one."""
    few = [
        name
        for name in proposal.features()
        if proposal.columns[name].type in ("boolean", "category")
        and profile.facets[name].distinct <= _SEGMENT_VALUES
    ]
    return sorted(few, key=lambda name: -profile.facets[name].roc_auc)[:_SEGMENTS]


def overview(proposal: Proposal, profile: Profile) -> list[str]:
    """A table for people: a line a column, what it is, what it tells, what becomes of it."""
    rows = [("column", "type", "missing", "different", "ROC-AUC", "becomes")]
    for name, column in proposal.columns.items():
        facet = profile.facets[name]
        becomes = "the id" if name == proposal.id else "feature" if column.use else "excluded"
        note = f": {column.note}" if column.note and name != proposal.id else ""
        missing = f"{facet.missing / profile.rows:.1%}" if facet.missing else "-"
        alone = f"{facet.roc_auc:.3f}"
        kind = column.type
        rows.append((name, kind, missing, f"{facet.distinct:,}", alone, f"{becomes}{note}"))
    widths = [min(max(len(row[cell]) for row in rows), 40) for cell in range(5)]
    return [
        "  ".join(
            cell.rjust(width) if place in (2, 3, 4) else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=False))
        )
        + f"  {row[5]}"
        for row in rows
    ]
