"""Who may call the API: keys with names, from API_KEYS or from a file that is read again when it
changes, so that a key can be replaced while the API runs.

    API_KEYS="billing:4f0c…, crm:9b1e…"        or a file with a `name:key` a line

A caller shows its key as `Authorization: Bearer KEY` or as `X-API-Key: KEY`.
"""

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Iterable
from pathlib import Path

from churn.environment import Environment
from churn.errors import SettingsError

NONE = "none"
"""The value of API_KEYS that says in a word: anybody may call."""

ANYBODY = ""
"""The name of every caller where there are no keys."""

_SHORTEST = 16
_LOOK_AGAIN = 1.0  # seconds
# Anybody may read /ready: neither the file's path nor whose key is wrong is for them.
_UNREAD = "API_KEYS_FILE cannot be read; the keys that it had stay. The log of the API tells why"
_ENTRY = re.compile(r"([A-Za-z0-9_.-]{1,64}):([\x21-\x7e]+)")

Headers = Iterable[tuple[bytes, bytes]]

_log = logging.getLogger("churn")


class Keys:
    """The keys of one process. Compared by their hashes and all of them each time, so that the time
    that it takes tells nothing about them."""

    def __init__(self, environment: Environment) -> None:
        """Raises SettingsError where the keys cannot be read."""
        told = environment.API_KEYS
        self._digests = {} if told == NONE else _read(told.replace(",", "\n"), "API_KEYS")
        self._file: Path | None = None
        self._stamp: tuple[int, int] | None = None
        self._looked = 0.0
        if environment.API_KEYS_FILE:
            self._file = Path(environment.API_KEYS_FILE)
            if told:
                raise SettingsError("environment: set API_KEYS or API_KEYS_FILE, not both")
            self._read_file()
        self.problem = ""

    @property
    def wanted(self) -> bool:
        """Whether a caller needs a key."""
        return bool(self._digests) or self._file is not None

    def caller(self, headers: Headers) -> str | None:
        """The name of who shows one of the keys; None where nobody does."""
        if self._file is not None:
            self._follow_file()
        elif not self._digests:
            return ANYBODY
        shown = _shown(headers)
        if shown is None:
            return None
        digest = hashlib.sha256(shown).digest()
        found = None
        for known, name in self._digests.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _follow_file(self) -> None:
        """Read the file again if it has changed; one that cannot be read changes nothing."""
        now = time.monotonic()
        if now - self._looked < _LOOK_AGAIN:
            return
        self._looked = now
        try:
            self._read_file()
            self.problem = ""
        except SettingsError as error:
            if not self.problem:
                _log.error("%s", error)
            self.problem = _UNREAD

    def _read_file(self) -> None:
        assert self._file is not None  # noqa: S101
        try:
            stat = self._file.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if stamp == self._stamp:
                return
            found = _read(self._file.read_text(encoding="utf-8"), "API_KEYS_FILE")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is no text"
            raise SettingsError(f"API_KEYS_FILE = {self._file}: {reason}") from None
        if not found:
            raise SettingsError(f"API_KEYS_FILE = {self._file}: it has no key; write name:key")
        self._digests, self._stamp = found, stamp


def _read(text: str, source: str) -> dict[bytes, str]:
    """The names of the keys by the keys' hashes. A message never shows a key."""
    digests: dict[bytes, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        parts = _ENTRY.fullmatch(entry)
        if parts is None:
            raise SettingsError(
                f"{source}: entry {number} is not name:key (a name of letters, digits, _ . -, and a"
                " key without spaces)"
            )
        name, key = parts[1], parts[2]
        if len(key) < _SHORTEST:
            raise SettingsError(
                f"{source}: the key of {name} has {len(key)} characters, and {_SHORTEST} are the"
                " fewest: `openssl rand -hex 24` makes one"
            )
        digest = hashlib.sha256(key.encode()).digest()
        if digest in digests:
            raise SettingsError(f"{source}: {name} and {digests[digest]} have the same key")
        digests[digest] = name
    return digests


def _shown(headers: Headers) -> bytes | None:
    """The key that a request shows. Header names come in lower case."""
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
        if name == b"x-api-key":
            return value.strip()
    return None
