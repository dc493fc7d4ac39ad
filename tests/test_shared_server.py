"""The MLflow server that other machines reach, with real TLS, passwords and users."""

import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from conftest import Serve, copied
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from project import Project, free_port, servers

from churn import operation
from churn.environment import read_environment
from churn.errors import UsageError, UserError
from churn.finding import BAD, OK
from churn.registry import PRODUCTION
from churn.rest import Mlflow
from churn.sharing import Sharing, read_sharing

START = ("python", "src/start_mlflow.py")
PROMOTE = ("python", "src/promote.py")
STATUS = ("python", "src/status.py")
ADMIN = {"MLFLOW_TRACKING_USERNAME": "boss", "MLFLOW_TRACKING_PASSWORD": "Tz-4 is not guessed"}
READER = {"MLFLOW_TRACKING_USERNAME": "api", "MLFLOW_TRACKING_PASSWORD": "reads and no more"}


def certify(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        # Python 3.13 trusts no certificate of a CA without these.
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "certificate.pem", folder / "key.pem"
    pem = serialization.Encoding.PEM
    certificate_path.write_bytes(certificate.public_bytes(pem))
    key_path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_path, key_path


@dataclass(frozen=True)
class Secured:
    """A project whose server asks for a password, over TLS."""

    project: Project
    certificate: Path
    client: httpx.Client

    def variables(self, who: dict[str, str]) -> dict[str, str]:
        return {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(self.certificate), **who}

    def mlflow(self, who: dict[str, str]) -> Mlflow:
        uri = {"MLFLOW_TRACKING_URI": self.project.mlflow_uri}
        return Mlflow(read_environment(self.variables(who) | uri))


@pytest.fixture(scope="module")
def secured(template: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    certificate, key = certify(folder)
    copy = copied(template, folder)
    project = Project(copy.root, f"https://localhost:{free_port()}")
    trust = ssl.create_default_context(cafile=certificate)
    with httpx.Client(base_url=project.mlflow_uri, verify=trust, timeout=60) as client:
        secured = Secured(project, certificate, client)
        tls = ("--certificate", str(certificate), "--key", str(key))
        project.do(*START, "--shared", *tls, **secured.variables(ADMIN))
        yield secured
        project.do("python", "src/stop_mlflow.py")


ROUTES = [
    ("GET", "/"),
    ("GET", "/version"),
    ("POST", "/graphql"),
    ("GET", "/api/2.0/mlflow/experiments/search?max_results=1"),
    ("POST", "/ajax-api/2.0/mlflow/runs/search"),
    ("POST", "/api/2.0/mlflow/registered-models/alias"),
    ("GET", "/get-artifact?path=model&run_uuid=1"),
    ("GET", "/model-versions/get-artifact?path=MLmodel&name=churn_model&version=1"),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts?path="),
    ("GET", "/ajax-api/2.0/mlflow-artifacts/artifacts/1/file"),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/file"),
    ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/1/file"),
    ("POST", "/api/2.0/mlflow/users/create"),
    ("POST", "/v1/traces"),
    ("POST", "/ajax-api/3.0/mlflow/assistant/message"),
]


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_nobody_comes_in_without_name_and_password(
    secured: Secured, method: str, route: str
) -> None:
    for auth in (None, ("boss", "password1234"), ("admin", "password1234"), ("boss", "")):
        assert secured.client.request(method, route, auth=auth).status_code == 401
    auth = (ADMIN["MLFLOW_TRACKING_USERNAME"], ADMIN["MLFLOW_TRACKING_PASSWORD"])
    if method == "GET":
        assert secured.client.get(route, auth=auth).status_code in (200, 404)


def test_it_answers_under_its_own_name_and_to_its_own_pages_only(secured: Secured) -> None:
    auth = (ADMIN["MLFLOW_TRACKING_USERNAME"], ADMIN["MLFLOW_TRACKING_PASSWORD"])
    route = "/ajax-api/2.0/mlflow/experiments/search"

    def status(**headers: str) -> int:
        search = {"max_results": 1}
        return secured.client.post(route, json=search, auth=auth, headers=headers).status_code

    assert status() == 200
    assert status(Origin=secured.project.mlflow_uri) == 200
    assert status(Origin="https://elsewhere.example") == 403
    assert status(Host="elsewhere.example") == 403


def test_the_pipeline_and_the_commands_work_with_name_and_password(
    secured: Secured, serve: Serve
) -> None:
    project, admin = secured.project, secured.variables(ADMIN)
    project.do("dvc", "repro", "-f", "-s", "train", "evaluate", **admin)
    project.do(*PROMOTE, "--version", "1", **admin)
    project.do(*PROMOTE, "--version", "2", "--force", "--reason", "to go back", **admin)
    project.do("python", "src/rollback.py", **admin)
    assert "production  version 1" in project.do(*STATUS, **admin)
    api = serve(project, **admin)
    api.wait_for_version("1")


@pytest.mark.parametrize("command", ["promote", "rollback", "status", "history"])
def test_a_wrong_password_is_one_line(secured: Secured, command: str) -> None:
    wrong = secured.variables(ADMIN | {"MLFLOW_TRACKING_PASSWORD": "is not the right one"})
    line = secured.project.refused("python", f"src/{command}.py", code=3, **wrong)
    assert "does not know that name and password" in line
    assert "is not the right one" not in line


def test_no_password_and_no_trust_in_the_certificate_are_one_line_each(secured: Secured) -> None:
    line = secured.project.refused(*PROMOTE, code=3, **secured.variables({}))
    assert "asks who you are: set MLFLOW_TRACKING_USERNAME" in line
    line = secured.project.refused(*PROMOTE, code=3, **ADMIN)
    assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in line
    for nowhere in ("/nowhere.pem", "params.yaml"):
        wrong = {"MLFLOW_TRACKING_SERVER_CERT_PATH": nowhere}
        line = secured.project.refused(*PROMOTE, code=1, **wrong)
        assert f"{nowhere!r}: use the absolute path" in line
    no_pem = {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(secured.project.root / "params.yaml")}
    assert "no certificate in PEM form" in secured.project.refused(*PROMOTE, code=1, **no_pem)


def test_a_user_who_may_read_can_serve_and_cannot_promote(secured: Secured, serve: Serve) -> None:
    admin, project = secured.mlflow(ADMIN), secured.project
    name, password = READER.values()
    admin.post("users/create", username=name, password=password)
    admin.post("registered-models/alias", name="churn_model", alias=PRODUCTION, version="1")
    reader = secured.variables(READER)
    api = serve(project, **reader)
    api.wait_for_version("1")
    line = project.refused(
        *PROMOTE, "--version", "2", "--force", "--reason", "to see", code=1, **reader
    )
    assert "does not let this user do that" in line
    assert "production  version 1" in project.do(*STATUS, **reader)


def test_what_the_server_writes_is_its_owners(secured: Secured) -> None:
    folder = secured.project.root / "mlflow"
    assert stat.S_IMODE((folder / "basic_auth.db").stat().st_mode) == 0o600
    password = ADMIN["MLFLOW_TRACKING_PASSWORD"].encode()
    for path in folder.rglob("*"):
        assert not path.is_file() or password not in path.read_bytes(), path


def test_a_server_that_runs_is_not_started_again(secured: Secured) -> None:
    line = secured.project.refused(
        *START, "--shared", "--without-tls", code=1, **secured.variables(ADMIN)
    )
    assert f"runs already, at {secured.project.mlflow_uri}" in line
    assert len(servers(secured.project)) == 1


def test_the_doctor_tells_who_asks_for_a_password(secured: Secured, trained: Project) -> None:
    uri = {"MLFLOW_TRACKING_URI": secured.project.mlflow_uri}
    environment = read_environment(secured.variables(ADMIN) | uri)
    state, said, _ = operation.asks_for_a_password(environment)
    assert (state, said) == (OK, f"{secured.project.mlflow_uri} asks for a password")
    plain = read_environment(ADMIN | {"MLFLOW_TRACKING_URI": trained.mlflow_uri})
    state, said, mend = operation.asks_for_a_password(plain)
    assert state == BAD
    assert "asks for no password" in said
    assert "--shared" in mend
    found = secured.project.do("python", "src/doctor.py", **secured.variables(ADMIN))
    assert "the server is MLflow" in found


# What is refused before anything is started


def sharing(uri: str = "https://mlflow.example:5000", **changes: str) -> Sharing:
    given = {name: changes.pop(name) for name in list(changes) if name.isupper()}
    environment = read_environment({"MLFLOW_TRACKING_URI": uri, **ADMIN, **given})
    return read_sharing(environment, changes.get("listen"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"MLFLOW_TRACKING_USERNAME": ""}, "there is no default"),
        ({"MLFLOW_TRACKING_PASSWORD": ""}, "there is no default"),
        ({"MLFLOW_TRACKING_PASSWORD": "elevenchars"}, "11 characters, and needs 12"),
        ({"MLFLOW_TRACKING_PASSWORD": "password1234"}, "everybody would try"),
        ({"MLFLOW_TRACKING_PASSWORD": "aaaaaaaaaaaa"}, "everybody would try"),
        (dict.fromkeys(ADMIN, "mlflow-admin"), "everybody would try"),
        ({"MLFLOW_TRACKING_PASSWORD": "sehr-übel-geraten"}, "ASCII"),
        ({"MLFLOW_TRACKING_USERNAME": "a:b"}, "no colon"),
        ({"MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow, *"}, "name them"),
    ],
)
def test_a_bad_password_is_refused_without_being_shown(given: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        sharing(**given)
    password = given.get("MLFLOW_TRACKING_PASSWORD")
    assert not password or password not in str(refused.value)


@pytest.mark.parametrize("listen", ["", None, "0.0.0.0:5000", "[::]:5000", "192.0.2.1:5000"])
def test_passwords_do_not_cross_the_network_readable_unless_that_is_said(
    listen: str | None,
) -> None:
    environment = read_environment({"MLFLOW_TRACKING_URI": "http://mlflow.example:5000", **ADMIN})
    with pytest.raises(UsageError):
        read_sharing(environment, listen)
    if listen:
        assert read_sharing(environment, listen, without_tls=True).port == 5000


def test_it_listens_where_it_is_told_and_else_where_the_address_says(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path)

    def place(uri: str, listen: str | None = None) -> tuple[str, int]:
        environment = read_environment({"MLFLOW_TRACKING_URI": uri, **ADMIN})
        how = read_sharing(environment, listen, certificate, key)
        return how.host, how.port

    assert place("https://mlflow.example") == ("0.0.0.0", 443)
    assert place("https://mlflow.example:5000") == ("0.0.0.0", 5000)
    assert place("https://localhost:5000") == ("localhost", 5000)
    assert place("https://mlflow.example", "[::1]:5001") == ("::1", 5001)
    for wrong in ("5000", "host", "host:x", "host:1/path", ":5000"):
        with pytest.raises(UsageError, match="HOST:PORT"):
            place("https://mlflow.example", wrong)


def test_every_name_under_which_it_is_reached_is_allowed_and_no_other() -> None:
    def allowed(uri: str, names: str = "") -> str:
        how = sharing(uri, listen="127.0.0.1:5000", MLFLOW_SERVER_ALLOWED_HOSTS=names)
        return how.variables["MLFLOW_SERVER_ALLOWED_HOSTS"]

    assert allowed("https://mlflow.example:5000") == "mlflow.example:5000"
    assert allowed("https://mlflow.example") == "mlflow.example,mlflow.example:443"
    assert allowed("http://[::1]:5000", "mlflow:*, m") == "[::1]:5000,mlflow:*,m"


def test_certificate_and_key_belong_together_and_to_https(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path)
    environment = read_environment({"MLFLOW_TRACKING_URI": "https://mlflow.example", **ADMIN})
    with pytest.raises(UsageError, match="belong together"):
        read_sharing(environment, certificate=certificate)
    with pytest.raises(UserError, match="nowhere is no file"):
        read_sharing(environment, certificate=certificate, key=tmp_path / "nowhere")
    plain = read_environment({"MLFLOW_TRACKING_URI": "http://mlflow.example", **ADMIN})
    with pytest.raises(UserError, match="begins with https:"):
        read_sharing(plain, certificate=certificate, key=key)


def test_nothing_but_the_switch_makes_it_listen_to_others(template: Project) -> None:
    for option in (("--listen", "0.0.0.0:5000"), ("--without-tls",)):
        line = template.refused(*START, *option, code=2, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
        assert "go with --shared" in line
    line = template.refused(*START, "--shared", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "there is no default" in line
    assert servers(template) == []
    assert not (template.root / "mlflow/basic_auth.db").exists()
