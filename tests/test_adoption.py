"""The files that adopt_data.py writes say what was decided, whatever the columns are called."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from churn import adoption, yamlfile
from churn.column import Column
from churn.profile import Profile
from churn.proposal import Finding, Proposal
from churn.schema import REQUEST_ID, SPLIT, Schema
from churn.settings import validated

examples = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])

PROFILE = Profile({}, np.array([0, 0, 1], np.int64), np.arange(3))

names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1).filter(
    lambda name: name not in (SPLIT, REQUEST_ID)
) | st.sampled_from(
    ["no", "null", "~", "1", "1.5", "a: b", "# x", "- y", "'q'", "N° é", "yes", "{a"]
)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=20) | (
    st.sampled_from(
        ["No", "NA", "null", "~", "1e3", "007", "a, b", "[x]", "# y", ": z", "'", '"', "é"]
    )
)
columns = st.one_of(
    st.builds(
        Column,
        type=st.sampled_from(["integer", "number"]),
        min=st.none() | st.floats(-1e9, 1e9),
        nullable=st.booleans(),
        missing_values=st.lists(texts, max_size=2).map(tuple),
        missing_rate=st.none() | st.floats(0, 1),
    ),
    st.builds(Column, type=st.just("category"), values=st.lists(texts, max_size=4).map(tuple)),
    st.builds(Column, type=st.just("text"), use=st.just(False), note=texts),
    st.just(Column(type="boolean", values=("No", "Yes"))),
    st.just(Column(type="date", format="%d.%m.%Y", use=False, note="leak suspect: 1")),
    st.just(Column(type="number", decimal=",", thousands=" ")),
)


@examples
@given(st.dictionaries(names, columns, min_size=1, max_size=5), st.lists(texts, max_size=2))
def test_the_schema_is_read_as_what_was_decided(
    tmp_path_factory: pytest.TempPathFactory, described: dict[str, Column], said: list[str]
) -> None:
    described = {"first": Column(type="number"), **described}
    proposal = Proposal(described, findings=[Finding(1, text) for text in said])
    path = tmp_path_factory.getbasetemp() / "schema.yaml"
    path.write_text(adoption.schema_text(proposal, PROFILE, {"the id"}), encoding="utf-8")
    schema = validated(Schema, yamlfile.read(path), "schema.yaml")
    assert schema.columns == described
    assert schema.positive_rate == 0.333


def test_columns_that_params_names_are_left_out(tmp_path: Path) -> None:
    number = Column(type="number")
    proposal = Proposal({"key": number, "x": number}, id="key")
    text = adoption.schema_text(proposal, PROFILE, {"key"})
    (tmp_path / "schema.yaml").write_text(text)
    schema = validated(Schema, yamlfile.read(tmp_path / "schema.yaml"), "schema.yaml")
    assert list(schema.columns) == ["x"]


def test_a_category_with_very_many_values_lists_none() -> None:
    city = Column(type="category", values=tuple(f"c{n}" for n in range(51)))
    assert "c50" not in adoption.schema_text(Proposal({"city": city}), PROFILE, set())


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.8, 0.95, 0.99])
def test_the_gate_lies_above_the_best_naive_answer_and_can_be_reached(rate: float) -> None:
    naive = adoption.best_naive_f1(rate)
    gate = adoption.gate_f1(rate)
    assert naive < gate < 1
    assert gate <= naive + adoption.GATE_MARGIN
