"""What goes wrong in practice, each as a check that finds it and says how to mend it."""

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir

import httpx

from churn import challenge, files, mirror, paths, server
from churn.apis import ask
from churn.environment import Environment
from churn.errors import Unreachable, UserError
from churn.ledger import Ledger
from churn.registry import ALIASES, EXPERIMENT, MODEL, PRODUCTION, Registry, Tag, Version
from churn.rest import Mlflow, NothingListens, is_loopback

OK, NOTE, BAD = "ok", "note", "BAD"

LEAST_FREE = 1_000_000_000  # bytes
LEAST_FREE_SHARE = 0.05
_DATABASE = paths.MLFLOW / "mlflow.db"


@dataclass(frozen=True)
class Finding:
    """What a check found: `state` is OK, NOTE (worth knowing, no failure) or BAD; `mend` says what
    to do about it."""

    check: str
    state: str
    said: str
    mend: str = ""


Found = Iterator[tuple[str, str, str]]
"""What a check yields: one state, what there is to say and how to mend it, for each thing."""


def examine(environment: Environment) -> Iterator[Finding]:
    """All checks in their order, each as soon as it is done. Where the server is away, those that
    need it are left out, and one finding says so."""
    yield from _named("packages", packages())
    yield from _named("disk", disk())
    yield from _named("database", database())
    found = list(_named("server", mlflow_server(environment)))
    yield from found
    if any(finding.state == BAD for finding in found):
        yield Finding("registry", NOTE, "what needs the server was not checked")
        return
    registry = Registry(Mlflow(environment))
    ledger = Ledger(registry)
    production = registry.at_alias(PRODUCTION)
    yield from _named("artifacts", artifact_root(registry))
    yield from _named("ledger", ledger_agrees(ledger))
    yield from _named("production", production_loads(production))
    yield from _named("APIs", apis_serve(environment, production))
    yield from _named("data", data_is_kept(production))
    yield from _named("mirror", mirror_agrees(registry))


def _named(check: str, found: Found) -> Iterator[Finding]:
    try:
        for state, said, mend in found:
            yield Finding(check, state, said, mend)
    except Unreachable as error:
        yield Finding(check, BAD, str(error), "start or restart the MLflow server")
    except UserError as error:
        yield Finding(check, BAD, str(error))


def packages(root: Path = paths.ROOT) -> Found:
    """Whether what is installed is what the requirements pin."""
    pins: dict[str, str] = {}
    for name in ("requirements-api.txt", "requirements.txt"):
        text = (root / name).read_text(encoding="utf-8")
        pins |= dict(re.findall(r"^([\w.-]+)==([^\s#]+)", text, re.MULTILINE))
    wrong = [
        f"{name} {found} where {pin} is pinned"
        for name, pin in pins.items()
        if (found := _installed(name)) != pin
    ]
    if wrong:
        yield BAD, ", ".join(wrong), "`make setup`, or install requirements.txt"
    else:
        yield OK, f"{len(pins)} packages are the pinned ones", ""


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def disk(least: int = LEAST_FREE, share: float = LEAST_FREE_SHARE) -> Found:
    """Whether each file system that is written to has room."""
    places = {"the project": paths.ROOT, "mlflow/": paths.MLFLOW, "temporary": Path(gettempdir())}
    seen: set[int] = set()
    for name, folder in places.items():
        if not folder.exists() or (device := folder.stat().st_dev) in seen:
            continue
        seen.add(device)
        total, _, free = shutil.disk_usage(folder)
        said = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB are free for {name} ({folder})"
        if free < least or free < share * total:
            yield BAD, said, "make room; `dvc gc --workspace` drops data that no commit here uses"
        else:
            yield OK, said, ""


def database() -> Found:
    """Whether this checkout's own database has the schema of the installed MLflow."""
    if not _DATABASE.exists():
        yield OK, "this checkout has no MLflow database of its own yet", ""
        return
    there, (known, newest) = _revision(_DATABASE), _revisions()
    if there == newest:
        yield OK, f"{paths.shown(_DATABASE)} has the schema of the installed MLflow", ""
    elif there in known:
        said = f"{paths.shown(_DATABASE)} has an older schema ({there}) than the installed MLflow"
        mend = "`make stop`, copy mlflow/mlflow.db aside, `cd mlflow && mlflow db upgrade"
        yield BAD, f"{said} ({newest})", f"{mend} sqlite:///mlflow.db`"
    else:
        said = f"{paths.shown(_DATABASE)} has a schema ({there}) that the installed MLflow"
        yield BAD, f"{said} does not know: a newer one made it", "install the MLflow that made it"


def _revision(path: Path) -> str:
    """The revision of the database's schema, read without changing the file."""
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise UserError(f"{paths.shown(path)} is not a database of MLflow ({error})") from None
    return str(row[0]) if row else "none"


def _revisions() -> tuple[set[str], str]:
    """The revisions that the installed MLflow knows, and the newest. Importing MLflow would take
    seconds, so its migrations are read."""
    spec = find_spec("mlflow")
    if spec is None or not spec.origin:
        raise UserError("MLflow is not installed here; `make setup` installs it")
    folder = Path(spec.origin).parent / "store" / "db_migrations" / "versions"
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.py")]
    named = re.compile(r"""^(down_)?revision = ["'](\w+)["']""", re.MULTILINE)
    found = [match.groups() for text in texts for match in named.finditer(text)]
    known = {revision for down, revision in found if not down}
    (newest,) = known - {revision for down, revision in found if down}
    return known, newest


def mlflow_server(environment: Environment) -> Found:
    """Whether MLflow answers on a real route, and is the version that is pinned. Nothing is
    started."""
    uri = environment.MLFLOW_TRACKING_URI
    try:
        server.probe(environment)
    except NothingListens as error:
        mend = "start it, or set MLFLOW_TRACKING_URI"
        if is_loopback(uri):
            mend = "`python src/start_mlflow.py` starts this checkout's own"
        said = server.last_words()
        yield BAD, f"{error}{f'; the last one said: {said}' if said else ''}", mend
        return
    except Unreachable as error:
        green = _health_is_green(uri)
        said = f"{uri}/health is green, but every real route is refused: " if green else ""
        yield BAD, f"{said}{error}", "then start the server again" if green else ""
        return
    theirs, ours = _server_version(uri), _installed("mlflow")
    if theirs not in ("", ours):
        said = f"the server at {uri} is MLflow {theirs}, and the client here {ours}"
        yield BAD, said, "bring both to the version in requirements.txt"
    else:
        yield OK, f"MLflow {theirs} answers at {uri}", ""


def _health_is_green(uri: str) -> bool:
    try:
        return httpx.get(f"{uri}/health", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _server_version(uri: str) -> str:
    try:
        answer = httpx.get(f"{uri}/version", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return ""
    return answer.text.strip() if answer.is_success and len(answer.text) < 40 else ""


def artifact_root(registry: Registry) -> Found:
    """Whether files go through the server, so that an API on another machine can have them."""
    found = registry.experiment(EXPERIMENT)
    if found is None:
        yield OK, f"experiment {EXPERIMENT} does not exist yet; `dvc repro` makes it", ""
    elif found["artifact_location"].startswith("mlflow-artifacts:"):
        yield OK, f"the files of {EXPERIMENT} go through the server", ""
    else:
        place, number = found["artifact_location"], found["experiment_id"]
        rename = f"mlflow experiments rename --experiment-id {number} --new-name {EXPERIMENT}-local"
        yield (
            BAD,
            f"experiment {EXPERIMENT} keeps its files at {place}, where only clients on the machine"
            " of the server can read them",
            "start the server with --artifacts-destination; an experiment keeps the root that it"
            f" was made with, so rename this one (`{rename}`) and train again",
        )


def ledger_agrees(ledger: Ledger) -> Found:
    """Whether each alias is where the last entry of its chain says."""
    for alias in ALIASES:
        last, undecided = ledger.end(alias)
        at = ledger.registry.aliases().get(alias, "")
        if last is None:
            if at:
                said = f"{alias} is at version {at} and there is no ledger yet"
                yield NOTE, said, "the next promote.py or rollback.py opens it"
            continue
        if not last.done:
            said = f"a move of {alias} was interrupted: {last.move.told}"
            yield BAD, said, "`python src/status.py` finishes it"
        elif at != last.move.to_version:
            said = f"{alias} is at version {at or 'none'} and the ledger has it at"
            mend = "the next promote.py or rollback.py records it; `python src/history.py` shows"
            yield BAD, f"{said} {last.move.to_version or 'none'}: it was moved outside", mend
        else:
            said = f"{alias} is at version {at or 'none'}, as the ledger says"
            stale = f" ({len(undecided)} undecided)" if undecided else ""
            yield OK, f"{said}{stale}", ""


def production_loads(production: Version | None) -> Found:
    """Whether the version in production loads and answers its example, in a process of its own."""
    if production is None:
        yield NOTE, f"no version of {MODEL} is in production", "`python src/promote.py`"
        return
    outcome = challenge.trial(production, [])
    if outcome.problem:
        said = f"version {production.number} does not load: {outcome.problem}"
        yield BAD, said, "`python src/rollback.py`"
    else:
        yield OK, f"version {production.number} loads and answers its example", ""


def apis_serve(environment: Environment, production: Version | None) -> Found:
    """Whether each API serves what is in production."""
    wanted = production.number if production else None
    for url in environment.API_URLS:
        api = ask(url)
        if not api.answers:
            yield (
                NOTE,
                f"{url} {api.problem}",
                "`python src/api.py` starts it; see API_URLS",
            )
        elif api.version == wanted:
            yield OK, f"{url} serves version {wanted}", ""
        else:
            said = f"{url} serves version {api.version or 'none'} and production is {wanted}"
            mend = "wait RELOAD_SECONDS; else compare its MLFLOW_TRACKING_URI with this one"
            yield BAD, f"{said}{f': {api.problem}' if api.problem else ''}", mend


def data_is_kept(production: Version | None) -> Found:
    """Whether DVC still has the snapshot that the version in production was trained on."""
    if production is None:
        return
    md5, sha256 = (production.tags.get(name, "") for name in (Tag.RAW_MD5, Tag.RAW_SHA256))
    number = production.number
    if not md5:
        said = f"version {number} was trained before the data's name in DVC's cache was recorded"
        yield NOTE, said, ""
        return
    if (_cache() / "files" / "md5" / md5[:2] / md5[2:]).is_file():
        yield OK, f"DVC's cache has the data of version {number} ({md5})", ""
        return
    said = f"DVC's cache lacks the data of version {number} ({md5})"
    if paths.RAW.exists() and files.sha256(paths.RAW) == sha256:
        yield BAD, f"{said}, and data/raw.csv is it", "`dvc commit` puts it there"
    elif _dvc("remote", "list"):
        yield BAD, said, "`dvc fetch --all-commits` looks for it in the remote"
    else:
        mend = "look for it in backups; `dvc remote add` and `dvc push` keep the next one safe"
        yield BAD, f"{said}, and there is no remote", mend


def _cache() -> Path:
    told = _dvc("cache", "dir")
    return Path(told) if told else paths.ROOT / ".dvc" / "cache"


def _dvc(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["dvc", *arguments], cwd=paths.ROOT, capture_output=True, text=True, check=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def mirror_agrees(registry: Registry) -> Found:
    """Whether registry/ says what MLflow says."""
    behind = mirror.behind(registry)
    if behind:
        yield BAD, f"registry/ {behind}", "`python src/status.py --sync`"
    else:
        yield OK, "registry/ says what MLflow says", ""


def as_json(findings: list[Finding]) -> str:
    """The findings as a list of objects."""
    return json.dumps([vars(finding) for finding in findings], indent=2, ensure_ascii=False)
