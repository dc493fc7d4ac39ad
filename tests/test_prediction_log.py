import json
import os
from pathlib import Path

import pytest

from churn import prediction_log
from churn.prediction_log import PredictionLog


def records(folder: Path) -> list[dict[str, object]]:
    return [
        json.loads(line)
        for path in sorted(folder.iterdir())
        for line in path.read_text().splitlines()
    ]


def test_each_record_is_a_line(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "log", 30)
    log.write([{"a": 1}, {"a": 'two\n{"x"'}])
    log.write([])
    assert records(tmp_path / "log") == [{"a": 1}, {"a": 'two\n{"x"'}]
    assert log.problem == ""


def test_what_is_the_same_stands_in_each(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "log", 30)
    log.write([{"a": 1}, {"a": '\n{"b": 2}'}, {"a": {"c": []}}], {"version": "2", "id": "{"})
    log.write([], {"version": "3"})
    assert records(tmp_path / "log") == [
        {"version": "2", "id": "{", "a": 1},
        {"version": "2", "id": "{", "a": '\n{"b": 2}'},
        {"version": "2", "id": "{", "a": {"c": []}},
    ]


def test_a_number_of_many_digits_is_written_as_it_is(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, 30)
    log.write([{"a": 10**30, "text": "ü\n{"}], {"b": -(10**40)})
    assert records(tmp_path) == [{"b": -(10**40), "a": 10**30, "text": "ü\n{"}]


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = PredictionLog(None, 30)
    log.write([{"a": 1}])
    assert log.problem == ""
    assert list(tmp_path.iterdir()) == []


def test_a_large_file_is_followed_by_another_and_the_oldest_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "_LARGEST", 10)
    monkeypatch.setattr(prediction_log, "_KEPT", 3)
    log = PredictionLog(tmp_path, 30)
    other = tmp_path / f"predictions-20200101T000000-{os.getpid() + 1}.jsonl"
    other.write_text('{"of": "another process"}\n')
    for number in range(8):
        log.write([{"number": number, "long": "x" * 20}])
    assert other.exists()
    kept = [each["number"] for each in records(tmp_path) if "number" in each]
    assert kept == [5, 6, 7]


def test_what_goes_wrong_is_said_and_tried_again_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    log = PredictionLog(tmp_path / "file" / "log", 30)
    assert log.problem == "predictions are not logged: Not a directory"
    log.write([{"a": 1}])
    assert log.problem
    (tmp_path / "file").unlink()
    log.write([{"a": 2}])
    assert log.problem
    monkeypatch.setattr(prediction_log, "_PAUSE", 0.0)
    log.write([{"a": 3}])
    assert log.problem == ""
    assert records(tmp_path / "file" / "log") == [{"a": 3}]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_log, "_PAUSE", 0.0)
    log = PredictionLog(tmp_path, 30)
    (path,) = tmp_path.iterdir()
    os.dup2(os.open("/dev/full", os.O_WRONLY), log._file)
    log.write([{"a": 1}])
    assert "No space left on device" in log.problem
    log.write([{"a": 2}])
    assert log.problem == ""
    assert records(tmp_path)[-1] == {"a": 2}
    assert path.exists()
