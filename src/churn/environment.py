"""The environment variables that change a deployment. (What changes a model stands in params.yaml.)

Without pydantic, whose import would take a tenth of the time that a rollback may take.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from churn.errors import SettingsError

MAY_BE_OPEN = ("/metrics", "/model", "/version", "/openapi.json")
"""What OPEN_PATHS may let be read without a key."""


@dataclass(frozen=True)
class Environment:
    """The variables with their defaults; checked by read_environment()."""

    MLFLOW_TRACKING_URI: str = "http://127.0.0.1:5000"
    MLFLOW_TRACKING_USERNAME: str = ""
    MLFLOW_TRACKING_PASSWORD: str = field(default="", repr=False)
    MLFLOW_TRACKING_TOKEN: str = field(default="", repr=False)
    MLFLOW_TRACKING_SERVER_CERT_PATH: str = ""
    MLFLOW_SERVER_ALLOWED_HOSTS: str = ""
    HOST: str = "127.0.0.1"
    PORT: int = 8000
    API_URLS: tuple[str, ...] = ("http://127.0.0.1:8000",)
    DATA_DATABASE_URL: str = field(default="", repr=False)
    API_KEY: str = field(default="", repr=False)
    API_KEYS: str = field(default="", repr=False)
    API_KEYS_FILE: str = ""
    OPEN_PATHS: tuple[str, ...] = ()
    CORS_ORIGINS: tuple[str, ...] = ()
    RELOAD_SECONDS: float = 1.0
    MODEL_CACHE: str = "registry/served"
    PREDICTION_LOG: str = "logs"
    PREDICTION_LOG_DAYS: int = 30
    PREDICTION_LOG_KEY: str = field(default="", repr=False)
    BODY_BYTES: int = 64 * 1024
    BATCH_BYTES: int = 32 * 1024 * 1024
    BATCH_ROWS: int = 10_000
    CONCURRENCY: int = 32
    CONNECTIONS: int = 1000
    REQUEST_SECONDS: float = 10.0
    STOP_SECONDS: int = 10


def names() -> list[str]:
    """The names of all variables that the project reads."""
    return [variable.name for variable in fields(Environment)]


def read_environment(variables: Mapping[str, str] = os.environ) -> Environment:
    """Read and check the environment; an empty variable counts as not set.

    Raises SettingsError, naming each variable that is wrong, its value and what is allowed.
    """
    found: dict[str, Any] = {}
    wrong = []
    for name in names():
        text = variables.get(name, "").strip()
        if not text:
            continue
        try:
            found[name] = _READ.get(name, str)(text)
        except ValueError as error:
            # An address may hold a password.
            shown = re.sub(r"//[^/@]*@", "//…@", repr(text))
            wrong.append(f"{name} = {shown}: {error}")
    if wrong:
        raise SettingsError(f"environment: {'; '.join(wrong)}")
    found.setdefault("API_URLS", (f"http://127.0.0.1:{found.get('PORT', Environment.PORT)}",))
    return Environment(**found)


def _address(what: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"use the address of {what}")
        if parts.username or parts.password:
            raise ValueError(
                "put user and password into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        _ = parts.port  # urlsplit raises ValueError here for a port that is not a number
        return text.rstrip("/")

    return read


def _addresses(text: str) -> tuple[str, ...]:
    read = _address("each API, such as http://127.0.0.1:8000,http://127.0.0.1:8001")
    return tuple(read(part.strip()) for part in text.split(",") if part.strip())


def _origins(text: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not all(re.fullmatch(r"https?://[^/\s*]+", each) for each in found):
        raise ValueError("use the origins of pages, such as https://crm.example.com; no *")
    return found


def _open_paths(text: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not set(found) <= set(MAY_BE_OPEN):
        raise ValueError(f"use some of {', '.join(MAY_BE_OPEN)}")
    return found


def _there(text: str) -> str:
    # Absolute, because DVC and the trial of a version run in other folders.
    if not Path(text).is_absolute() or not Path(text).exists():
        raise ValueError("use the absolute path of the certificate of the server or of its CA")
    return text


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]+", text) or not low <= int(text) <= high:
            raise ValueError(f"use a whole number from {low} to {high}")
        return int(text)

    return read


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        allowed = f"use a number of seconds from {low:g} to {high:g}"
        try:
            value = float(text)
        except ValueError:
            raise ValueError(allowed) from None
        if not low <= value <= high:
            raise ValueError(allowed)
        return value

    return read


_READ: dict[str, Callable[[str], Any]] = {
    "MLFLOW_TRACKING_URI": _address("an MLflow server, such as http://127.0.0.1:5000"),
    "MLFLOW_TRACKING_SERVER_CERT_PATH": _there,
    "PORT": _whole_number(1, 65535),
    "API_URLS": _addresses,
    "RELOAD_SECONDS": _seconds(0.1, 3600),
    "OPEN_PATHS": _open_paths,
    "CORS_ORIGINS": _origins,
    "PREDICTION_LOG_DAYS": _whole_number(1, 36_500),
    "BODY_BYTES": _whole_number(1024, 100_000_000),
    "BATCH_BYTES": _whole_number(1024, 1_000_000_000),
    "BATCH_ROWS": _whole_number(1, 1_000_000),
    "CONCURRENCY": _whole_number(1, 10_000),
    "CONNECTIONS": _whole_number(1, 100_000),
    "REQUEST_SECONDS": _seconds(0.1, 3600),
    "STOP_SECONDS": _whole_number(1, 3600),
}
