import os
from pathlib import Path

import pytest

from churn import keys
from churn.environment import Environment
from churn.errors import SettingsError
from churn.keys import ANYBODY, NONE, Keys

FIRST, SECOND = "a-key-of-sixteen", "another-key-of-16"


def bearer(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"here"), (b"authorization", f"Bearer {key}".encode())]


def plain(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-api-key", key.encode())]


@pytest.mark.parametrize("told", ["", NONE])
def test_without_keys_anybody_may_call(told: str) -> None:
    found = Keys(Environment(API_KEYS=told))
    assert not found.wanted
    assert found.caller([]) == ANYBODY


def test_a_key_is_known_by_its_name_in_both_headers() -> None:
    found = Keys(Environment(API_KEYS=f"crm:{FIRST}, billing:{SECOND}"))
    assert found.wanted
    assert found.caller(bearer(FIRST)) == found.caller(plain(FIRST)) == "crm"
    assert found.caller([(b"authorization", f"bearer  {SECOND} ".encode())]) == "billing"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        bearer(""),
        bearer(FIRST[:-1]),
        bearer(FIRST + "x"),
        plain("\xff"),
        [(b"authorization", f"Basic {FIRST}".encode())],
        [(b"authorization", FIRST.encode())],
    ],
)
def test_whatever_else_is_no_key(headers: list[tuple[bytes, bytes]]) -> None:
    assert Keys(Environment(API_KEYS=f"crm:{FIRST}")).caller(headers) is None


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (FIRST, "entry 1 is not name:key"),
        (f"crm:{FIRST},{SECOND}", "entry 2 is not name:key"),
        (f"a name:{FIRST}", "entry 1 is not name:key"),
        ("crm:short", "the key of crm has 5 characters"),
        (f"crm:{FIRST},billing:{FIRST}", "billing and crm have the same key"),
    ],
)
def test_what_is_wrong_is_said_without_the_key(told: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as error:
        Keys(Environment(API_KEYS=told))
    assert FIRST not in str(error.value)
    assert SECOND not in str(error.value)
    assert FIRST not in repr(Environment(API_KEYS=told))


def test_a_file_is_read_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_LOOK_AGAIN", 0.0)
    file = tmp_path / "keys"
    file.write_text(f"# of the shop\ncrm:{FIRST}\n")
    found = Keys(Environment(API_KEYS_FILE=str(file)))
    assert found.wanted
    assert found.caller(bearer(FIRST)) == "crm"

    file.write_text(f"crm:{FIRST}\ncrm:{SECOND}\n")
    assert found.caller(bearer(FIRST)) == found.caller(bearer(SECOND)) == "crm"

    file.write_text(f"crm:{SECOND}\n")
    assert found.caller(bearer(FIRST)) is None
    assert found.caller(bearer(SECOND)) == "crm"


@pytest.mark.parametrize("text", ["", "# nobody\n", "nonsense\n"])
def test_a_file_that_becomes_wrong_changes_nothing_and_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    text: str,
) -> None:
    monkeypatch.setattr(keys, "_LOOK_AGAIN", 0.0)
    file = tmp_path / "keys"
    file.write_text(f"crm:{FIRST}\n")
    found = Keys(Environment(API_KEYS_FILE=str(file)))
    file.write_text(text)
    os.utime(file, ns=(1, 1))
    assert found.caller(bearer(FIRST)) == "crm"
    assert "API_KEYS_FILE" in found.problem
    assert str(file) not in found.problem, "/ready shows it to anybody"
    assert found.caller(bearer(FIRST)) == "crm"
    assert caplog.text.count("API_KEYS_FILE") == 1

    file.write_text(f"crm:{FIRST}\n")
    assert found.caller(bearer(FIRST)) == "crm"
    assert found.problem == ""

    file.unlink()
    assert found.caller(bearer(FIRST)) == "crm"
    assert "API_KEYS_FILE" in found.problem
    assert "No such file" in caplog.text


def test_a_file_that_cannot_be_used_at_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        Keys(Environment(API_KEYS_FILE=str(tmp_path / "none")))
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(SettingsError, match="it has no key"):
        Keys(Environment(API_KEYS_FILE=str(tmp_path / "empty")))
    with pytest.raises(SettingsError, match="not both"):
        Keys(Environment(API_KEYS=f"a:{FIRST}", API_KEYS_FILE=str(tmp_path / "empty")))
