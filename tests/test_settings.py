import difflib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn import paths, yamlfile
from churn.errors import SettingsError
from churn.schema import Schema
from churn.settings import (
    Params,
    edit_params,
    read_params,
    validated,
)

PARAMS = """\
data:
  source: sample
  target: churn
  positive: 1
  drop: []
  id:
split:
  test_size: 0.2
  salt: ""
train:
  version: v1
  seed: 42
  model: random_forest
  logistic_regression: {C: 1.0, max_iter: 1000}
  hist_gradient_boosting:
    learning_rate: 0.05
    max_iter: 150
    max_leaf_nodes: 15
    min_samples_leaf: 20
    l2_regularization: 0.0
  random_forest: {n_estimators: 200, min_samples_leaf: 5, max_depth: }
evaluate:
  gate_f1: 0.55
"""


def params_of(text: str, folder: Path) -> Params:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return read_params(path)


def refusal(text: str, folder: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        params_of(text, folder)
    return str(caught.value)


def test_the_projects_own_params_are_valid() -> None:
    assert read_params(paths.PARAMS).train.seed >= 0


def test_values_get_the_types_that_their_keys_ask_for(tmp_path: Path) -> None:
    params = params_of(PARAMS, tmp_path)
    assert params.data.positive == "1"
    assert params.split.test_size == 0.2
    assert params.train.seed == 42
    assert params.evaluate.gate_f1 == 0.55


def test_an_empty_optional_key_counts_as_left_out(tmp_path: Path) -> None:
    params = params_of(PARAMS.replace("drop: []", "drop:"), tmp_path)
    assert params.data.id is None
    assert params.data.drop == ()
    assert params.train.random_forest.max_depth is None


def test_each_estimator_has_its_own_parameters(tmp_path: Path) -> None:
    train = params_of(PARAMS, tmp_path).train
    assert train.hyperparameters("random_forest") == {
        "n_estimators": 200,
        "min_samples_leaf": 5,
        "max_depth": None,
    }
    assert train.hyperparameters("logistic_regression") == {"C": 1.0, "max_iter": 1000}


@pytest.mark.parametrize("text", ["Yes", "NO", "on", "1.0", "012", "1e3", "0x10", "NA", "null"])
def test_the_positive_class_is_the_text_that_stands_there(text: str, tmp_path: Path) -> None:
    params = params_of(PARAMS.replace("positive: 1", f"positive: {text}"), tmp_path)
    assert params.data.positive == text


def test_yaml_words_in_a_list_stay_texts(tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text("values: [NO, NA, Yes, ~, 1.10, 2026-01-01]\n")
    assert yamlfile.read(path) == {"values": ["NO", "NA", "Yes", "~", "1.10", "2026-01-01"]}


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert params_of("\ufeff" + PARAMS, tmp_path) == params_of(PARAMS, tmp_path)


@pytest.mark.parametrize(
    ("key", "misspelt", "said"),
    [
        ("test_size", "test_sise", "split.test_sise is not a known key (did you mean test_size?)"),
        ("gate_f1", "gate-f1", "evaluate.gate-f1 is not a known key (did you mean gate_f1?)"),
        ("n_estimators", "estimators", "train.random_forest.estimators is not a known key (did"),
        ("split:", "splits:", "splits is not a known key (did you mean split?)"),
        ("C: 1.0", "c: 1.0", "train.logistic_regression.c is not a known key (known: C, max_iter)"),
    ],
)
def test_a_misspelt_key_is_answered_with_the_key_that_was_meant(
    key: str, misspelt: str, said: str, tmp_path: Path
) -> None:
    assert said in refusal(PARAMS.replace(key, misspelt, 1), tmp_path)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("seed: 42", "seed: many", "train.seed = 'many': input should be a valid integer"),
        ("seed: 42", "seed: 1.5", "train.seed = '1.5': input should be a valid integer"),
        ("seed: 42", "seed: -1", "train.seed = '-1': input should be greater than or equal to 0"),
        ("seed: 42", "seed: 4294967296", "train.seed = '4294967296': input should be less than"),
        ("seed: 42", "seed: [1]", "train.seed = ['1']: input should be a valid integer"),
        ("test_size: 0.2", "test_size: 20%", "split.test_size = '20%': input should be a valid nu"),
        ("test_size: 0.2", "test_size: 0", "split.test_size = '0': input should be greater than 0"),
        ("test_size: 0.2", "test_size: 1", "split.test_size = '1': input should be less than 1"),
        ("test_size: 0.2", "test_size: nan", "split.test_size = 'nan': "),
        ("gate_f1: 0.55", "gate_f1: 55", "evaluate.gate_f1 = '55': input should be less than or"),
        ("gate_f1: 0.55", "gate_f1: nan", "evaluate.gate_f1 = 'nan': "),
        ("gate_f1: 0.55", "gate_f1:", "evaluate.gate_f1 = '': input should be a valid number"),
        ("C: 1.0", "C: 0", "train.logistic_regression.C = '0': input should be greater than 0"),
        ("max_depth: ", "max_depth: 0", "train.random_forest.max_depth = '0': input should be gr"),
        (
            "model: random_forest",
            "model: xgboost",
            "train.model = 'xgboost': input should be 'auto', 'log",
        ),
        ("version: v1", "version: ../v1", "train.version = '../v1': string should match pattern"),
        ("version: v1", "version: ''", "train.version = '': string should match pattern"),
        ("target: churn", "target:", "data.target = '': string should have at least 1 character"),
        ("drop: []", "drop: notes", "data.drop = 'notes': "),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_what_is(
    right: str, wrong: str, said: str, tmp_path: Path
) -> None:
    assert said in refusal(PARAMS.replace(right, wrong, 1), tmp_path)


def test_a_missing_section_and_a_missing_key_are_named(tmp_path: Path) -> None:
    text = PARAMS.replace("evaluate:\n  gate_f1: 0.55\n", "").replace("  seed: 42\n", "")
    said = refusal(text, tmp_path)
    assert "evaluate is missing" in said
    assert "train.seed is missing" in said


def test_everything_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    text = PARAMS.replace("seed: 42", "seed: x").replace("gate_f1: 0.55", "gate_f1: 2")
    said = refusal(text, tmp_path)
    assert "train.seed = 'x'" in said
    assert "evaluate.gate_f1 = '2'" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- data\n- split\n", "must hold a mapping of keys, not ['data', 'split']"),
        ("just a sentence", "must hold a mapping of keys, not 'just a sentence'"),
        ("", "must hold a mapping of keys"),
        ("data: [unclosed\n", "is not valid YAML"),
        ("data:\n\tsource: sample\n", "is not valid YAML"),
        ("data: \x00\n", "is not valid YAML"),
        ("data:\n", "data = ''"),
        ("data: sample\n", "data = 'sample'"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused(text: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(text, tmp_path)
    assert str(tmp_path / "params.yaml") in refusal(text, tmp_path)


def test_a_missing_file_is_named_with_the_way_to_get_it_back(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"params\.yaml is missing; `git checkout "):
        read_params(tmp_path / "params.yaml")


def test_a_file_in_latin_1_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(PARAMS.replace("v1", "Zürich").encode("latin-1"))
    with pytest.raises(SettingsError, match="is not UTF-8"):
        read_params(path)


def test_a_source_may_be_as_long_as_an_sql_query_is(tmp_path: Path) -> None:
    query = "SELECT id" + ", one_more_column" * 100
    text = PARAMS.replace("source: sample", f"source: >-\n    {query}")
    assert params_of(text, tmp_path).data.source == query


def test_a_misspelt_key_of_a_column_is_answered_with_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"did you mean nullable\?"):
        validated(Schema, {"columns": {"age": {"type": "number", "nulable": "true"}}}, "schema")


# Editing params.yaml


COMMENTED = """\
# What changes a model.
data:
  source: sample
  target: churn        # the column to predict
  positive: True       # as it stands
  drop: ['notes', "x"] # neither
  # The customer.
  id:                  # never a feature

split: {test_size: 0.20, salt: ""}
train:
  version: v1
  seed: 042
  model: auto   # best of three
  logistic_regression: {C: 1.0, max_iter: 1000}
  hist_gradient_boosting:
    learning_rate: 0.05   # step
    max_iter: 150
    max_leaf_nodes: 15
    min_samples_leaf: 20
    l2_regularization: 0.0
  random_forest: {n_estimators: 200, min_samples_leaf: 5, max_depth: 9}

evaluate:
  gate_f1: 0.55
# The end.
"""


def edited(folder: Path, changes: dict[str, object], text: str = COMMENTED) -> list[str]:
    """The lines that differ after the edit, as `- old` and `+ new`."""
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    edit_params(changes, path)
    new = path.read_text(encoding="utf-8")
    compared = difflib.ndiff(text.splitlines(), new.splitlines())
    return [line for line in compared if line[0] in "+-"]


@pytest.mark.parametrize(
    ("key", "value", "lines"),
    [
        (
            "train.hist_gradient_boosting.learning_rate",
            0.061,
            ["-     learning_rate: 0.05   # step", "+     learning_rate: 0.061  # step"],
        ),
        (
            "data.id",
            "customerID",
            [
                "-   id:                  # never a feature",
                "+   id: customerID       # never a feature",
            ],
        ),
        (
            "data.positive",
            "Yes",
            ["-   positive: True       # as it stands", "+   positive: Yes        # as it stands"],
        ),
        (
            "data.drop",
            ["a b", "NO", "c, d", "{e}"],
            [
                "-   drop: ['notes', \"x\"] # neither",
                '+   drop: [a b, NO, "c, d", "{e}"] # neither',
            ],
        ),
        (
            "split.test_size",
            0.3,
            ['- split: {test_size: 0.20, salt: ""}', '+ split: {test_size: 0.3, salt: ""}'],
        ),
        (
            "train.random_forest.max_depth",
            7,
            [
                "-   random_forest: {n_estimators: 200, min_samples_leaf: 5, max_depth: 9}",
                "+   random_forest: {n_estimators: 200, min_samples_leaf: 5, max_depth: 7}",
            ],
        ),
        ("train.calibration", "none", ["+   calibration: none"]),
        ("evaluate.segments", ["region"], ["+   segments: [region]"]),
    ],
)
def test_an_edit_changes_its_value_and_no_other_character(
    key: str, value: object, lines: list[str], tmp_path: Path
) -> None:
    assert sorted(edited(tmp_path, {key: value})) == sorted(lines)


def test_several_values_are_set_at_once_and_none_is_written_as_nothing(tmp_path: Path) -> None:
    changes: dict[str, object] = {"data.drop": None, "data.id": "no", "train.seed": 7}
    edited(tmp_path, changes)
    text = (tmp_path / "params.yaml").read_text()
    assert "# neither\n  # The customer.\n" in text
    params = read_params(tmp_path / "params.yaml")
    assert (params.data.drop, params.data.id, params.train.seed) == ((), "no", 7)
    edit_params({"data.id": None, "split.salt": None}, tmp_path / "params.yaml")
    assert 'split: {test_size: 0.20, salt: ""}' in (tmp_path / "params.yaml").read_text()
    assert "  id:                  # never a feature" in (tmp_path / "params.yaml").read_text()


def test_a_value_that_stands_there_already_is_left_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(COMMENTED)
    edit_params({"data.positive": "True", "data.drop": ["notes", "x"], "data.id": None}, path)
    assert path.read_text() == COMMENTED


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("train.seed", "many", "train.seed = 'many': input should be a valid integer"),
        ("train.sede", 1, "train.sede is not a known key (did you mean seed?)"),
        ("nowhere.seed", 1, "has no section nowhere"),
        ("data.id.deeper", 1, "has no section data.id"),
    ],
)
def test_an_edit_that_would_be_refused_when_read_leaves_the_file(
    key: str, value: object, said: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError) as caught:
        edited(tmp_path, {"split.test_size": 0.3, key: value})
    assert said in str(caught.value)
    assert (tmp_path / "params.yaml").read_text() == COMMENTED


SINGLE_LINE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(name=SINGLE_LINE, names=st.lists(SINGLE_LINE, max_size=3))
def test_any_text_comes_back_as_it_was_and_no_other_value_changes(
    name: str, names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "edited.yaml"
    path.write_text(COMMENTED, encoding="utf-8")
    wanted = yamlfile.read(path)
    text = yamlfile.edited(path, {"data.target": name, "data.drop": names})
    path.write_text(text, encoding="utf-8", newline="\n")
    wanted["data"] |= {"target": name, "drop": names}
    assert yamlfile.read(path) == wanted


def test_the_projects_own_params_can_be_edited(tmp_path: Path) -> None:
    text = paths.PARAMS.read_text()
    changes: dict[str, object] = {"data.drop": ["a"], "data.id": "customer", "train.model": "auto"}
    lines = edited(tmp_path, changes, text)
    assert len([line for line in lines if line[0] == "+"]) <= 3
    assert read_params(tmp_path / "params.yaml").data.id == "customer"
