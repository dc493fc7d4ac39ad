"""Why a row got its probability: what each feature adds, against a reference customer."""

from typing import Any

import numpy as np

from churn.column import Value
from churn.scorer import Scorer


def explain(scorer: Scorer, row: dict[str, Value]) -> dict[str, Any]:
    """What each feature of the clean row adds to the probability of the reference customer, whose
    values are the medians and most frequent categories of the training split.

    A feature's contribution is the mean of two differences: when it alone is given to the
    reference, and when it is the last to be given. The contributions and the `remainder`, what
    features only do together, add up to the difference of the two probabilities. One call scores
    all 2 × features + 2 rows.
    """
    schema = scorer.schema
    reference = schema.example.row
    alone = [{**reference, name: row[name]} for name in schema.features]
    without = [{**row, name: reference[name]} for name in schema.features]
    answers = np.array(scorer.score([reference, row, *alone, *without]))
    start, end = answers[:2]
    given, taken = np.split(answers[2:], 2)
    contributions = ((given - start) + (end - taken)) / 2
    return {
        "probability": float(end),
        "reference_probability": float(start),
        "contributions": [
            {
                "feature": name,
                "value": schema.used[name].given(row[name]),
                "reference": schema.used[name].given(reference[name]),
                "contribution": contribution,
            }
            for name, contribution in zip(schema.features, contributions.tolist(), strict=True)
        ],
        "remainder": float(end - start - contributions.sum()),
    }
