"""The environment variables that change a deployment."""

import pytest

from churn.environment import Environment, read_environment
from churn.errors import SettingsError


def test_the_environment_has_defaults() -> None:
    environment = read_environment({})
    assert environment.MLFLOW_TRACKING_URI == "http://127.0.0.1:5000"
    assert (environment.HOST, environment.PORT) == ("127.0.0.1", 8000)


def test_the_api_to_look_at_is_the_one_of_this_machine_or_those_that_are_named() -> None:
    assert read_environment({"PORT": "9000"}).API_URLS == ("http://127.0.0.1:9000",)
    several = read_environment({"API_URLS": "http://a:1/, http://b:2"}).API_URLS
    assert several == ("http://a:1", "http://b:2")


def test_every_variable_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"PORT = 'x'.*RELOAD_SECONDS = '0'"):
        read_environment({"PORT": "x", "RELOAD_SECONDS": "0"})


def test_an_empty_variable_counts_as_not_set() -> None:
    assert read_environment({"PORT": "", "MLFLOW_TRACKING_URI": ""}) == read_environment({})


def test_variables_of_others_do_not_matter() -> None:
    assert read_environment({"PATH": "/bin", "port": "9"}) == read_environment({})


def test_the_slash_at_the_end_of_the_tracking_uri_does_not_matter() -> None:
    environment = read_environment({"MLFLOW_TRACKING_URI": "https://mlflow.example/path/"})
    assert environment.MLFLOW_TRACKING_URI == "https://mlflow.example/path"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", "http", "PORT = 'http': use a whole number from 1 to 65535"),
        ("PORT", "0", "PORT = '0': use a whole number from 1"),
        ("PORT", "65536", "PORT = '65536': use a whole number"),
        ("RELOAD_SECONDS", "0", "RELOAD_SECONDS = '0': use a number of seconds from 0.1 to 3600"),
        ("RELOAD_SECONDS", "nan", "RELOAD_SECONDS = 'nan': "),
        ("API_URLS", "localhost:8000", "API_URLS = 'localhost:8000': use the address of each API"),
        ("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db", "use the address of an MLflow server"),
        ("MLFLOW_TRACKING_URI", "./mlruns", "use the address of an MLflow server"),
        ("MLFLOW_TRACKING_URI", "http://", "use the address of an MLflow server"),
        ("MLFLOW_TRACKING_URI", "http://localhost:mlflow", "MLFLOW_TRACKING_URI = 'http://local"),
        ("MLFLOW_TRACKING_URI", "http://localhost:70000", "MLFLOW_TRACKING_URI = 'http://local"),
    ],
)
def test_a_wrong_variable_is_named_with_what_is_allowed(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_environment({name: value})
    assert str(caught.value).startswith("environment: ")
    assert said in str(caught.value)


def test_a_secret_is_not_shown_with_the_environment() -> None:
    environment = Environment(
        MLFLOW_TRACKING_PASSWORD="hidden",
        MLFLOW_TRACKING_TOKEN="hidden",
        DATA_DATABASE_URL="hidden",
    )
    assert "hidden" not in repr(environment)


def test_a_password_in_the_address_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_PASSWORD") as raised:
        read_environment({"MLFLOW_TRACKING_URI": "http://me:hunter2@127.0.0.1:5000"})
    assert "hunter2" not in str(raised.value)
