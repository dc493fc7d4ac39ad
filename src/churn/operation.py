"""What doctor.py checks of all that runs: the MLflow server, the ledger, production, the APIs."""

import time
from dataclasses import replace

from churn import challenge, installation, mirror, server
from churn.apis import Api, ask
from churn.environment import Environment
from churn.errors import Unreachable
from churn.finding import BAD, NOTE, OK, Found
from churn.http import httpx
from churn.ledger import Entry, Ledger
from churn.registry import ALIASES, EXPERIMENT, MODEL, PRODUCTION, TRAIN_AGAIN, Registry, Tag
from churn.rest import NothingListens, NotTrusted, client, is_loopback

# A move takes a fraction of a second from its entry to its alias, and needs no doctor.
_PATIENCE = 2.0


def mlflow_server(environment: Environment) -> Found:
    """Whether MLflow answers on a real route. Nothing is started."""
    uri = environment.MLFLOW_TRACKING_URI
    try:
        server.probe(environment)
    except NothingListens as error:
        if is_loopback(uri):
            words = server.last_words()
            said = f"{error}; the last one said: {words}" if words else str(error)
            yield BAD, said, "`python src/start_mlflow.py`, as every command does by itself"
        else:
            yield BAD, str(error), "start it there, or set MLFLOW_TRACKING_URI"
    except Unreachable as error:
        if _answer(environment, "/health") == 200 and _answer(environment, _ROUTE) == 403:
            refused = f"{uri}/health is green and every real route is refused (HTTP 403): {error}"
            yield BAD, refused, "add that to the server's --allowed-hosts and start it again"
        else:
            yield BAD, str(error), ""
    else:
        yield OK, f"MLflow answers at {uri}", ""
        if not is_loopback(uri):
            yield asks_for_a_password(environment)


def asks_for_a_password(environment: Environment) -> tuple[str, str, str]:
    """Whether the server turns away who does not say a name."""
    uri = environment.MLFLOW_TRACKING_URI
    anybody = replace(environment, MLFLOW_TRACKING_USERNAME="", MLFLOW_TRACKING_TOKEN="")
    try:
        server.probe(anybody)
    except NotTrusted:
        if uri.startswith("https:"):
            return OK, f"{uri} asks for a password", ""
        return NOTE, f"passwords cross the network readable to {uri}", "put TLS in front of it"
    said = f"{uri} asks for no password: who reaches it may replace what is in production"
    return BAD, said, "`python src/start_mlflow.py --shared` starts one that does"


_ROUTE = "/api/2.0/mlflow/experiments/search?max_results=1"


def _answer(environment: Environment, route: str) -> int:
    """The HTTP status of the answer, 0 without one."""
    try:
        with client(environment, httpx.Timeout(5)) as asking:
            return asking.get(route).status_code
    except httpx.HTTPError:
        return 0


def server_version(environment: Environment) -> Found:
    """Whether the server is the MLflow that the requirements pin."""
    uri, pin = environment.MLFLOW_TRACKING_URI, installation.pinned().get("mlflow", "unpinned")
    try:
        with client(environment, httpx.Timeout(5)) as asking:
            answer = asking.get("/version")
        there = answer.text.strip() if answer.is_success else f"HTTP {answer.status_code}"
    except httpx.HTTPError as error:
        there = str(error)
    if there == pin:
        yield OK, f"the server is MLflow {there}, as pinned", ""
    elif there[:1].isdigit():
        mend = "`make stop` ends one of this checkout; bring another to the pinned version"
        yield BAD, f"the server at {uri} is MLflow {there} (pinned: {pin})", mend
    else:
        yield NOTE, f"{uri} does not say which MLflow it is ({there[:80]})", ""


def artifact_root(registry: Registry) -> Found:
    """Whether files go through the server, so that an API on another machine can have them."""
    found = registry.experiment(EXPERIMENT)
    if found is None:
        yield OK, f"experiment {EXPERIMENT} does not exist yet; `dvc repro` makes it", ""
        return
    place, number = found["artifact_location"], found["experiment_id"]
    if place.startswith("mlflow-artifacts:"):
        yield OK, f"the files of experiment {EXPERIMENT} go through the server", ""
        return
    # MLflow's own command line has a default of its own, a database in the current folder.
    rename = f"MLFLOW_TRACKING_URI={registry.mlflow.uri} mlflow experiments rename"
    rename += f" --experiment-id {number} --new-name {EXPERIMENT}-old"
    yield (
        BAD,
        f"experiment {EXPERIMENT} keeps its files at {place}, which only clients beside them can"
        " read, and it keeps that root for good",
        f"start the server with --artifacts-destination, rename the experiment (`{rename}`) and"
        f" train in a new one (`{TRAIN_AGAIN}`); versions of the old one cannot be served",
    )


def ledger_agrees(ledger: Ledger) -> Found:
    """Whether each alias is where the last entry of its chain says. Nothing is mended here."""
    for alias in ALIASES:
        last, undecided, at = _end(ledger, alias)
        if last is None:
            said = f"{alias} is at version {at or 'none'}; there is no ledger yet"
            yield OK, said, "the next promote.py or rollback.py opens it"
            continue
        if not last.done:
            said = f"a move of {alias} was interrupted: {last.move.told}"
            yield BAD, said, "`python src/status.py` finishes it"
        elif at != last.move.to_version:
            there = last.move.to_version or "none"
            said = f"{alias} is at version {at or 'none'} and the ledger has it at {there}"
            back = f"`python src/promote.py --alias {alias} --version {last.move.to_version}`"
            back = f"; {back} moves it back" if last.move.to_version else ""
            mend = f"the next promote.py or rollback.py records that{back}"
            yield BAD, f"{said}: it was moved outside the ledger", mend
        else:
            yield OK, f"{alias} is at version {at or 'none'}, as the ledger says", ""
        for entry in undecided:
            said = f"a move of {alias} was prepared and nothing happened yet: {entry.move.told}"
            yield NOTE, said, "`python src/status.py` takes it out when it is a minute old"
    for alias, at in ledger.registry.aliases().items():
        if alias not in ALIASES:
            yield NOTE, f"{alias} is at version {at}; the ledger keeps {', '.join(ALIASES)}", ""


def _end(ledger: Ledger, alias: str) -> tuple[Entry | None, list[Entry], str]:
    """The end of the alias's chain and the version that it points to, once they agree or have had
    the time to."""
    end = time.monotonic() + _PATIENCE
    while True:
        last, undecided = ledger.end(alias)
        at = ledger.registry.aliases().get(alias, "")
        agrees = last is None or (last.done and at == last.move.to_version)
        if agrees or time.monotonic() > end:
            return last, undecided, at
        time.sleep(0.1)


def production_loads(registry: Registry) -> Found:
    """Whether the version in production loads and answers its example, in a process of its own."""
    production = registry.at_alias(PRODUCTION)
    if production is None:
        yield NOTE, f"no version of {MODEL} is in production", "`python src/promote.py`"
        return
    outcome = challenge.trial(production, [])
    if outcome.problem:
        said = f"version {production.number} does not load: {outcome.problem}"
        mend = "`python src/rollback.py`, or `python src/promote.py --version N` takes another"
        yield BAD, said, mend
    else:
        yield OK, f"version {production.number} loads and answers its example", ""


def apis_serve(environment: Environment, registry: Registry) -> Found:
    """Whether each API serves what is in production."""
    for url in environment.API_URLS:
        api = ask(url, environment.API_KEY)
        if not api.answers:
            mend = "`python src/api.py` starts one; API_URLS says where they are"
            yield NOTE, f"{url} {api.problem}", mend
            continue
        production = registry.at_alias(PRODUCTION)
        yield _serves(api, production.number if production else None, registry.mlflow.uri)


def _serves(api: Api, wanted: str | None, uri: str) -> tuple[str, str, str]:
    problem = f": {api.problem}" if api.problem else ""
    if api.version != wanted:
        said = f"{api.url} serves version {api.version or 'none'}, not {wanted or 'none'}{problem}"
        if api.desired == wanted:
            return BAD, said, "mend that; it tries again by itself"
        where = f"whether its MLFLOW_TRACKING_URI is {uri}"
        return BAD, said, f"wait its RELOAD_SECONDS, then look {where}, or start it again"
    if problem and wanted:
        return BAD, f"{api.url} serves version {wanted} and cannot follow{problem}", "mend that"
    return OK, f"{api.url} serves version {wanted or 'none'}, as it should", ""


def data_is_kept(registry: Registry) -> Found:
    """Whether DVC still has the snapshot that the version in production was trained on."""
    production = registry.at_alias(PRODUCTION)
    if production is None:
        yield NOTE, "not checked: no version is in production", ""
        return
    tags = production.tags
    sha256, md5 = tags.get(Tag.RAW_SHA256, ""), tags.get(Tag.RAW_MD5, "")
    yield from installation.snapshot(production.number, sha256, md5)


def mirror_agrees(registry: Registry) -> Found:
    """Whether registry/ says what MLflow says."""
    behind = mirror.behind(registry)
    if behind:
        yield BAD, f"registry/ {behind}", "`python src/status.py --sync`"
    else:
        yield OK, "registry/ says what MLflow says", ""
