import json
import os
import subprocess
import sys
import time
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


def test_a_file_is_followed_by_another_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "_OLDEST", -1.0)
    log = PredictionLog(tmp_path, 30)
    for number in range(3):
        log.write([{"number": number}])
    assert [each["number"] for each in records(tmp_path)] == [0, 1, 2]
    assert len([path for path in tmp_path.iterdir() if path.read_text()]) == 3


def test_files_of_any_process_go_after_some_days(tmp_path: Path) -> None:
    old, young = (tmp_path / f"predictions-2020010{n}T000000-{n}-1.jsonl" for n in (1, 2))
    for path, days in ((old, 8), (young, 6)):
        path.write_text("{}\n")
        then = time.time() - days * 24 * 3600
        os.utime(path, (then, then))
    (tmp_path / "notes.txt").write_text("mine")
    os.utime(tmp_path / "notes.txt", (1, 1))
    PredictionLog(tmp_path, 7)
    assert not old.exists()
    assert young.exists()
    assert (tmp_path / "notes.txt").exists()


NEARLY_FULL = """
import resource, signal, sys
from pathlib import Path
from churn.prediction_log import PredictionLog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
log = PredictionLog(Path(sys.argv[1]), 30)
while not log.problem:
    log.write([{"text": "x" * 300}])
print(log.problem)
"""


def test_a_disk_that_takes_a_part_of_a_record_keeps_none_of_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", NEARLY_FULL, str(tmp_path)]
    source = str(Path(prediction_log.__file__).parents[1])
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": source}, capture_output=True, text=True, check=True
    )
    assert "the disk took a part of a record" in done.stdout
    assert [len(str(each["text"])) for each in records(tmp_path)] == [300, 300, 300]
