import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from churn import files


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_when_its_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "out.csv"
    with files.replacing(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert names(path.parent) == ["out.csv"]


def test_an_error_keeps_the_old_content_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as temporary:
        temporary.write_text("half")
        _ = 1 / 0
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out.csv"]


def test_a_keyboard_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), files.replacing(tmp_path / "out.csv") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_place_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(OSError), files.replacing(tmp_path / "out.csv") as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == ["out.csv"]


def test_a_folder_appears_whole_when_its_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "plots"
    path.mkdir()
    (path / "old.csv").write_text("old")
    with files.replacing_folder(path) as temporary:
        (temporary / "new.csv").write_text("new")
        assert names(path) == ["old.csv"]
    assert names(path) == ["new.csv"]
    assert names(tmp_path) == ["plots"]


def test_an_error_keeps_the_old_folder_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "plots"
    path.mkdir()
    (path / "old.csv").write_text("old")
    with pytest.raises(ZeroDivisionError), files.replacing_folder(path) as temporary:
        (temporary / "new.csv").write_text("half")
        _ = 1 / 0
    assert names(path) == ["old.csv"]
    assert names(tmp_path) == ["plots"]


def test_what_a_killed_process_left_of_a_file_is_swept_and_nothing_else(tmp_path: Path) -> None:
    for name in ("out.csv", ".out.csv.k3x", ".other.csv.k3x", ".out.csv"):
        (tmp_path / name).write_text("")
    (tmp_path / ".out.csv.folder").mkdir()
    files.sweep(tmp_path / "out.csv")
    assert names(tmp_path) == [".other.csv.k3x", ".out.csv", "out.csv"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError("no space")])
def test_an_error_that_names_no_file_gets_the_name(error: OSError, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with pytest.raises(OSError) as caught, files.replacing(path):
        raise error
    assert caught.value.filename == str(path)
    assert "no space" in str(caught.value.strerror).lower()


def test_an_error_that_names_another_file_keeps_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, files.replacing(tmp_path / "out.csv"):
        (tmp_path / "in.csv").read_text()
    assert caught.value.filename == str(tmp_path / "in.csv")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_permissions_are_those_that_the_umask_allows(
    umask: int, mode: int, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "out.txt", "text")
        assert files.current_umask() == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.txt").stat().st_mode) == mode


def test_a_link_to_a_cache_is_replaced_and_the_cache_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "cached").write_text("old")
    (tmp_path / "out.csv").symlink_to(tmp_path / "cached")
    files.write_text(tmp_path / "out.csv", "new")
    assert (tmp_path / "out.csv").read_text() == "new"
    assert (tmp_path / "cached").read_text() == "old"


def test_text_is_written_in_utf_8_with_its_own_line_ends(tmp_path: Path) -> None:
    files.write_text(tmp_path / "out.txt", "Zürich\n→\n")
    assert (tmp_path / "out.txt").read_bytes() == "Zürich\n→\n".encode()


def test_json_is_written_for_people(tmp_path: Path) -> None:
    files.write_json(tmp_path / "out.json", {"city": "Zürich", "f1": 0.5})
    assert (tmp_path / "out.json").read_text() == '{\n  "city": "Zürich",\n  "f1": 0.5\n}\n'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_json_cannot_hold_leaves_the_old_file(value: object, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    files.write_json(path, {"f1": 0.5})
    with pytest.raises((ValueError, TypeError)):
        files.write_json(path, {"f1": value})
    assert json.loads(path.read_text()) == {"f1": 0.5}
    assert names(tmp_path) == ["out.json"]


@pytest.mark.parametrize("content", [b"", b"abc", b"x" * 3_000_000])
def test_the_hash_is_the_full_sha_256(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert files.sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
