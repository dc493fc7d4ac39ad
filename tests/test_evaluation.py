import json

import numpy as np
import pandas as pd
import pytest

from churn import evaluation, metrics
from churn.column import Column
from churn.errors import SettingsError
from churn.resampling import Costs
from churn.schema import Schema
from churn.settings import Evaluate, Params, read_params, validated

SCHEMA = Schema(columns={"plan": Column(type="category")})


def params(**evaluate: object) -> Params:
    given = validated(Evaluate, {"gate_f1": 0.5} | evaluate, "params.yaml")
    return read_params().model_copy(update={"evaluate": given})


def test_an_evaluation_is_one_flat_object_of_finite_floats() -> None:
    rng = np.random.default_rng(0)
    features = pd.DataFrame({"plan": pd.Series(rng.choice(["a", "b"], 300), dtype="str")})
    probabilities = rng.random(300)
    target = (rng.random(300) < probabilities).astype(np.int64)
    given = params(cost_false_negative=3, segments=["plan"])
    found = evaluation.evaluate(given, SCHEMA, features, target, probabilities, 0.4)
    flat = found.flat
    assert json.loads(json.dumps(flat, allow_nan=False)) == flat
    assert {type(value) for value in flat.values()} == {float}
    assert flat.keys() >= {
        *metrics.SCORES,
        *(f"{name}_{end}" for name in metrics.SCORES for end in ("low", "high")),
        *("f1_over_naive_low", "f1_over_naive_high", "naive_f1_prior", "lift_decile_1"),
        *("calibration_error", "calibration_error_low", "calibration_error_high"),
        *("cost_threshold", "cost_per_customer_low", "cost_saved_high", "gain_decile_10"),
        *("segment/plan/a/rows", "segment/plan/b/roc_auc_high"),
    }
    assert flat["cost_threshold"] == 0.25


def test_the_costs_are_those_of_the_params() -> None:
    given = params(cost_false_negative="7", cost_false_positive="0.5")
    assert evaluation.costs(given) == Costs(false_negative=7, false_positive=0.5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cost_false_negative": "0", "cost_false_positive": "0"}, "must be above 0"),
        ({"cost_false_negative": "-1"}, "cost_false_negative = '-1'"),
        ({"cost_false_positive": "inf"}, "cost_false_positive = 'inf'"),
        ({"segments": ["plan", "plan"]}, "segments names 'plan' more than once"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        params(**wrong)
    assert said in str(caught.value)
