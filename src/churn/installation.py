"""What doctor.py checks on this machine: packages, disks, the database, the data in DVC's cache.

With the standard library alone: it must run where packages are missing.
"""

import json
import re
import shlex
import shutil
import sqlite3
import sys
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from churn import dvc, files, lineage, paths
from churn.errors import UserError
from churn.finding import BAD, NOTE, OK, Found

LEAST_FREE = 1_000_000_000  # bytes
LEAST_FREE_SHARE = 0.05

_LOCK = "requirements.lock"
_DATABASE = paths.MLFLOW / "mlflow.db"
_SHOWN = 5


def packages() -> Found:
    """Whether what is installed is what the lock pins."""
    pins = pinned()
    wrong = [
        f"{name} {now} (pinned: {pin})"
        for name, pin in pins.items()
        if (now := _installed(name)) != pin
    ]
    if not wrong:
        yield OK, f"{len(pins)} packages are the pinned ones", ""
        return
    more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    mend = f"`python -m pip install -r {_LOCK}`"
    if sys.prefix == sys.base_prefix:  # nobody wants them in the system's own Python
        mend = "`make setup`, then `source .venv/bin/activate`"
    yield BAD, f"{', '.join(wrong[:_SHOWN])}{more} in {sys.prefix}", mend


def pinned() -> dict[str, str]:
    """The versions that the lock pins, by package, but those that only some systems or Pythons
    need: the condition on their lines is not for the standard library to judge."""
    text = (paths.ROOT / _LOCK).read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==(\S+) \\$", text, re.MULTILINE))


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "is missing"


def disk(least: int = LEAST_FREE, share: float = LEAST_FREE_SHARE) -> Found:
    """Whether each file system that is written to has room: `least` bytes, and a `share` of it."""
    places = [paths.ROOT, paths.MLFLOW, Path(tempfile.gettempdir())]
    try:
        places.append(dvc.cache())
    except UserError as error:
        yield NOTE, f"the disk of DVC's cache was not looked at: {error}", ""
    seen: set[int] = set()
    for folder in places:
        if not folder.exists() or (device := folder.stat().st_dev) in seen:
            continue
        seen.add(device)
        total, _, free = shutil.disk_usage(folder)
        said = f"{free / 1e9:,.1f} of {total / 1e9:,.1f} GB are free where {folder} lies"
        if free < least or free < share * total:
            limits = f"{least / 1e9:g} GB and {share:.0%} should be"
            largest = f"`du -xd2 {shlex.quote(str(folder))} | sort -n | tail` shows what is large"
            yield BAD, f"{said}; {limits}", f"make room: {largest}"
        else:
            yield OK, said, ""


def locks() -> Found:
    """Whether DVC can read its own note of which process works on which file. It removes what a
    killed process left there, but not a note that a full disk or a kill has cut off (3.67.1)."""
    path = paths.ROOT / ".dvc" / "tmp" / "rwlock"
    shown = paths.shown(path)
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        pass
    except ValueError:
        yield BAD, f"{shown} is cut off, and `dvc repro` fails on it", f"`rm {shown}`"
        return
    yield OK, "DVC can read what it has locked", ""


def database() -> Found:
    """Whether this checkout's own database has the schema of the installed MLflow."""
    shown = paths.shown(_DATABASE)
    if not _DATABASE.exists():
        yield OK, f"there is no {shown} yet", ""
        return
    there, (known, newest) = _revision(_DATABASE), _revisions()
    if there == newest:
        yield OK, f"{shown} has the schema of the installed MLflow ({newest})", ""
    elif there in known:
        yield (
            BAD,
            f"{shown} has an older schema ({there}) than the installed MLflow ({newest})",
            f"`make stop && cp {shown} {shown}.old && mlflow db upgrade sqlite:///{shown}`",
        )
    else:
        yield (
            BAD,
            f"{shown} has a schema ({there}) that the installed MLflow, whose newest is {newest},"
            " does not know: a newer MLflow made it",
            f"install that MLflow, or `make stop` and put a backup of {shown} in its place",
        )


def _revision(path: Path) -> str:
    """The revision of the database's schema, read without changing the file."""
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise UserError(
            f"{paths.shown(path)} cannot be read as a database of MLflow ({error}): `make stop`"
            " and put a backup in its place"
        ) from None
    return str(row[0]) if row else "none"


def _revisions() -> tuple[set[str], str]:
    """The revisions that the installed MLflow knows, and the newest. Importing MLflow would take
    seconds, so its migrations are read."""
    spec = find_spec("mlflow")
    # The project's own folder mlflow/ is found where the package is missing; it has no origin.
    if spec is None or not spec.origin:
        raise UserError("MLflow is not installed here: `make setup` installs it")
    folder = Path(spec.origin).parent / "store" / "db_migrations" / "versions"
    named = re.compile(r"""^(down_)?revision = ["'](\w+)["']""", re.MULTILINE)
    found = [
        match.groups()
        for path in folder.glob("*.py")
        for match in named.finditer(path.read_text(encoding="utf-8"))
    ]
    known = {revision for down, revision in found if not down}
    newest = known - {revision for down, revision in found if down}
    if len(newest) != 1:
        raise UserError(f"{len(newest)} newest migrations in {folder}, not 1: install MLflow again")
    return known, newest.pop()


def snapshot(number: str, sha256: str, md5: str) -> Found:
    """Whether DVC's cache has the raw data that version `number` was trained on, by its hashes;
    `md5`, its name in the cache, is empty for versions from before it was recorded."""
    raw = paths.shown(paths.RAW)
    at_hand = paths.RAW.is_file() and files.sha256(paths.RAW) == sha256
    md5 = md5 or (lineage.md5(paths.RAW) if at_hand else "")
    if not md5:
        said = f"version {number} does not record its data's name in DVC's cache, and {raw} is not"
        yield NOTE, f"{said} its data, so nobody looked for them", ""
        return
    cache, name = dvc.cache(), dvc.name(md5)
    if (cache / name).is_file():
        yield OK, f"DVC's cache has the data of version {number} ({md5})", ""
        return
    said = f"DVC's cache {cache} lacks the data of version {number} ({md5})"
    remotes = dvc.remotes()
    if at_hand:
        yield BAD, f"{said}; {raw} is all there is of them here", "`dvc commit` puts it there"
    elif remotes:
        get = f"`dvc get-url remote://{remotes[0]}/{name} FILE`"
        yield (
            BAD,
            f"{said}; a remote is set: {', '.join(remotes)}",
            f"`dvc fetch --all-commits`; if no commit names them, {get}",
        )
    else:
        yield (
            BAD,
            f"{said}; {raw} is another file, and no DVC remote is set, so they are lost here",
            "put a backup or a colleague's cache there, or train again on today's data; `dvc remote"
            " add` and `dvc push` keep the next ones safe",
        )
