import json

from churn.column import Column
from churn.privacy import Privacy
from churn.schema import Example, ModelSchema

RECORD = {
    "request_id": "1",
    "features": {"age": 41, "name": "Ann", "town": "Ulm"},
    "warnings": ["age: 41 is outside the training range 50 to 60", "town: 'Ulm' was not seen"],
}


def schema(**log: str) -> ModelSchema:
    columns = {
        "age": Column(type="integer", log=log.get("age", "yes")),
        "name": Column(type="category", log=log.get("name", "yes")),
        "town": Column(type="category", log=log.get("town", "yes")),
    }
    example = Example(row={"age": 1, "name": "a", "town": "b"}, probability=0.5)
    return ModelSchema(columns=columns, target="left", positive="1", threshold=0.5, example=example)


def test_nothing_is_private_unless_the_schema_says_so() -> None:
    assert not Privacy(schema(), "").wanted


def test_what_is_to_be_dropped_is_in_no_part_of_the_record() -> None:
    privacy = Privacy(schema(age="drop"), "key")
    assert privacy.wanted
    found = privacy.redacted(RECORD)
    assert found["features"] == {"name": "Ann", "town": "Ulm"}
    assert found["warnings"] == ["age: not as in training", "town: 'Ulm' was not seen"]
    assert "41" not in json.dumps(found)


def test_a_hash_is_the_same_for_equal_values_and_another_for_another_key() -> None:
    first = Privacy(schema(name="hash"), "key").redacted(RECORD)["features"]["name"]
    again = Privacy(schema(name="hash"), "key").redacted(RECORD)["features"]["name"]
    other = Privacy(schema(name="hash"), "other").redacted(RECORD)["features"]["name"]
    assert first == again != other
    assert len(first) == 64


def test_without_a_key_what_is_to_be_hashed_is_left_out() -> None:
    found = Privacy(schema(town="hash"), "").redacted(RECORD)
    assert found["features"] == {"age": 41, "name": "Ann"}
    assert "Ulm" not in json.dumps(found)


def test_the_record_itself_stays_as_it_is() -> None:
    before = json.dumps(RECORD)
    Privacy(schema(age="drop", name="hash"), "key").redacted(RECORD)
    assert json.dumps(RECORD) == before
