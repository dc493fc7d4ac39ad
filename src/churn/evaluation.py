"""All that the test split says of a model, as numbers."""

from dataclasses import dataclass

import pandas as pd

from churn import metrics, segments
from churn.metrics import Bin, Decile, Intervals
from churn.resampling import Costs, Labels, Probabilities
from churn.schema import Schema
from churn.segments import Segment
from churn.settings import Params


@dataclass(frozen=True)
class Evaluation:
    """`scores` are the model's, those of naive answers and what mistakes cost, and `intervals` are
    95 % intervals; both by their names in reports/metrics.json."""

    scores: dict[str, float]
    intervals: Intervals
    deciles: list[Decile]
    calibration: list[Bin]
    segments: list[Segment]

    @property
    def flat(self) -> dict[str, float]:
        """All of it as one flat object of finite numbers: reports/metrics.json."""
        return {
            **self.scores,
            **metrics.flat(self.intervals),
            **metrics.flat_deciles(self.deciles),
            **segments.flat(self.segments),
        }


def costs(params: Params) -> Costs:
    """What params.yaml says that a mistake costs."""
    return Costs(params.evaluate.cost_false_negative, params.evaluate.cost_false_positive)


def evaluate(
    params: Params,
    schema: Schema,
    features: pd.DataFrame,
    target: Labels,
    probabilities: Probabilities,
    threshold: float,
) -> Evaluation:
    """Evaluate the answers to the test split's rows: `target` (0 or 1, both of them there) and
    `probabilities` (0 to 1) have shape (rows,), in the order of `features`.

    evaluate.segments names features only (see segments.known).
    """
    names, seed = params.evaluate.segments, params.train.seed
    return Evaluation(
        scores={
            **metrics.score(target, probabilities, threshold),
            **metrics.calibration_error(target, probabilities),
            **metrics.naive(float(target.mean())),
            **metrics.cost(target, probabilities, threshold, costs(params)),
        },
        intervals=metrics.intervals(target, probabilities, threshold, seed, costs(params)),
        deciles=metrics.deciles(target, probabilities),
        calibration=metrics.calibration(target, probabilities),
        segments=segments.evaluate(names, schema, features, target, probabilities, threshold, seed),
    )
