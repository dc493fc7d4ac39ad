"""The MLflow server for several machines: with a password, under given names, over TLS."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from churn.environment import Environment
from churn.errors import UsageError, UserError
from churn.rest import is_loopback

LEAST_CHARACTERS = 12
"""MLflow's own least length of a password."""

# Of those that are long enough.
_KNOWN_PASSWORDS = {
    *("password1234", "passwordpassword", "administrator", "adminadminadmin", "mlflowmlflow"),
    *(
        "changemechangeme",
        "changeme1234",
        "123456789012",
        "qwertyuiop12",
        "correcthorsebatterystaple",
    ),
}
_MAKE_ONE = "`python -c 'import secrets; print(secrets.token_urlsafe())'` makes a good one"


@dataclass(frozen=True)
class Sharing:
    """Where the server listens, and what it must know of those who come."""

    uri: str
    host: str
    port: int
    username: str
    password: str = field(repr=False)
    names: tuple[str, ...] = ()
    """Under which it is reached beside that of `uri`."""
    certificate: Path | None = None
    key: Path | None = None

    @property
    def options(self) -> list[str]:
        """What uvicorn is called with. Its application is the one of `mlflow server --app-name
        basic-auth`, without the process in front of it."""
        options = ["--factory", "mlflow.server.auth:create_app"]
        options += ["--host", self.host, "--port", str(self.port)]
        if self.certificate and self.key:
            options += ["--ssl-certfile", str(self.certificate), "--ssl-keyfile", str(self.key)]
        return options

    @property
    def variables(self) -> dict[str, str]:
        """What MLflow reads from its environment."""
        parts = urlsplit(self.uri)
        return {
            "_MLFLOW_SGI_NAME": "uvicorn",
            "MLFLOW_AUTH_CONFIG_PATH": str(Path(__file__).with_name("mlflow_auth.ini")),
            "MLFLOW_AUTH_ADMIN_USERNAME": self.username,
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.password,
            # It signs the forms of MLflow's pages, in this one process only.
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
            # Its defaults, whatever the environment says.
            "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",
            "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
            "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join([*_hosts(parts), *self.names]),
            # MLflow's own pages count as foreign where they do not come from localhost.
            "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"{parts.scheme}://{_hosts(parts)[0]}",
        }


def read_sharing(
    environment: Environment,
    listen: str | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    without_tls: bool = False,
) -> Sharing:
    """Check how the server is to be shared. `listen` is HOST:PORT; without it, it listens on every
    address of the machine, at the port of MLFLOW_TRACKING_URI.

    Raises UserError where the wrong ones could come in or a password be overheard.
    """
    uri = environment.MLFLOW_TRACKING_URI
    parts = urlsplit(uri)
    names = tuple(filter(None, map(str.strip, environment.MLFLOW_SERVER_ALLOWED_HOSTS.split(","))))
    if "*" in names:
        raise UserError(
            "MLFLOW_SERVER_ALLOWED_HOSTS = '*' lets every page of the internet in: name them"
        )
    host, port = _listening(listen, parts)
    _check_password(environment.MLFLOW_TRACKING_USERNAME, environment.MLFLOW_TRACKING_PASSWORD)
    if (certificate is None) != (key is None):
        raise UsageError("--certificate and --key belong together")
    for path in filter(None, (certificate, key)):
        if not path.is_file():
            raise UserError(f"{path} is no file; --certificate and --key name PEM files")
    if certificate and parts.scheme != "https":
        raise UserError(f"MLFLOW_TRACKING_URI = {uri!r}: with a certificate it begins with https:")
    if not (certificate or without_tls or is_loopback(f"//{_bracketed(host)}")):
        raise UsageError(
            f"who listens to the network could read the passwords that come to {host}: give"
            f" --certificate and --key, or --listen 127.0.0.1:{port} behind a proxy that does TLS,"
            " or say --without-tls"
        )
    return Sharing(
        uri=uri,
        host=host,
        port=port,
        username=environment.MLFLOW_TRACKING_USERNAME,
        password=environment.MLFLOW_TRACKING_PASSWORD,
        names=names,
        certificate=certificate and certificate.resolve(),
        key=key and key.resolve(),
    )


def _listening(listen: str | None, parts: SplitResult) -> tuple[str, int]:
    default = 443 if parts.scheme == "https" else 80
    if listen is None:
        name = parts.hostname or ""
        return name if is_loopback(parts.geturl()) else "0.0.0.0", parts.port or default  # noqa: S104
    try:
        given = urlsplit(f"//{listen}")
        host, port = given.hostname, given.port
    except ValueError:
        host, port = None, None
    if not host or not port or given.path:
        raise UsageError(f"--listen {listen!r}: use HOST:PORT, such as 127.0.0.1:5000")
    return host, port


def _hosts(parts: SplitResult) -> list[str]:
    """How a client writes the server's address into its Host header: it may leave out the port of
    the scheme."""
    host = _bracketed(parts.hostname or "")
    default = 443 if parts.scheme == "https" else 80
    port = parts.port or default
    return [host, f"{host}:{port}"] if port == default else [f"{host}:{port}"]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _check_password(username: str, password: str) -> None:
    """Raises UserError unless both are set and the password is hard to guess; never shows it."""
    if not username or not password:
        raise UserError(
            "--shared needs MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, the name and the"
            f" password of the administrator, and there is no default; {_MAKE_ONE}"
        )
    if len(password) < LEAST_CHARACTERS:
        raise UserError(
            f"MLFLOW_TRACKING_PASSWORD has {len(password)} characters, and needs"
            f" {LEAST_CHARACTERS}; {_MAKE_ONE}"
        )
    if password.lower() in _KNOWN_PASSWORDS | {username.lower()} or len(set(password)) < 5:
        raise UserError(f"MLFLOW_TRACKING_PASSWORD is one that everybody would try; {_MAKE_ONE}")
    if ":" in username or not f"{username}{password}".isascii():
        raise UserError(
            "MLFLOW_TRACKING_USERNAME must have no colon, and neither it nor the password a letter"
            " beyond ASCII: HTTP clients do not agree on how to send those"
        )
