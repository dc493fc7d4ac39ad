"""The image, the manifests and the code agree where a slip would show only in a cluster."""

import configparser
import fnmatch
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from churn import environment
from churn.environment import read_environment

ROOT = Path(__file__).resolve().parents[1]
BASE = ROOT / "k8s" / "base"
LOCAL = ROOT / "k8s" / "overlays" / "local"
SHARED = ROOT / "k8s" / "overlays" / "shared"
PROBES = {"startupProbe": "/startup", "readinessProbe": "/ready", "livenessProbe": "/health"}


def kustomization(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return content


def documents() -> list[dict[str, Any]]:
    """Every resource of the base, as written, before kustomize touches it."""
    files = kustomization(BASE)["resources"]
    return [item for file in files for item in yaml.safe_load_all((BASE / file).read_text())]


def find(kind: str, name: str, among: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    items = documents() if among is None else among
    (found,) = (item for item in items if (item["kind"], item["metadata"]["name"]) == (kind, name))
    return found


def pod(name: str) -> dict[str, Any]:
    template: dict[str, Any] = find("Deployment", name)["spec"]["template"]
    return template


def container(name: str) -> dict[str, Any]:
    (only,) = pod(name)["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def config_map() -> dict[str, str]:
    (generated,) = kustomization(BASE)["configMapGenerator"]
    assert generated["name"] == container("churn-api")["envFrom"][0]["configMapRef"]["name"]
    return dict(literal.split("=", 1) for literal in generated["literals"])


def dockerfile(instruction: str) -> list[str]:
    joined = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return re.findall(rf"^{instruction} +(.+)$", joined, re.MULTILINE)


def workflow(name: str) -> dict[str, Any]:
    path = ROOT / ".github" / "workflows" / f"{name}.yml"
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def kustomize_build(folder: Path) -> list[dict[str, Any]]:
    commands = [["kustomize", "build"], ["kubectl", "kustomize"]]
    command = next((c for c in commands if shutil.which(c[0])), None)
    if command is None:
        pytest.skip("neither kustomize nor kubectl is installed")
    built = subprocess.run([*command, folder], capture_output=True, text=True, timeout=60)
    assert built.returncode == 0, built.stderr
    return list(yaml.safe_load_all(built.stdout))


@pytest.mark.parametrize("name", ["churn-api", "mlflow"])
def test_a_service_reaches_its_pods(name: str) -> None:
    service = find("Service", name)["spec"]
    labels = pod(name)["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    assert find("Deployment", name)["spec"]["selector"]["matchLabels"].items() <= labels.items()

    (port,) = service["ports"]
    (exposed,) = container(name)["ports"]
    assert port["targetPort"] in (exposed["name"], exposed["containerPort"])
    assert port["port"] == exposed["containerPort"]


def test_the_api_is_probed_on_its_own_endpoints() -> None:
    api = container("churn-api")
    assert {probe: api[probe]["httpGet"]["path"] for probe in PROBES} == PROBES
    assert {api[probe]["httpGet"]["port"] for probe in PROBES} == {api["ports"][0]["name"]}


def test_the_config_map_is_an_environment_that_the_code_accepts() -> None:
    values = config_map()
    assert values.keys() <= set(environment.names())
    assert container("churn-api")["ports"][0]["containerPort"] == read_environment(values).PORT
    assert read_environment(values).HOST == "0.0.0.0"


def test_the_api_asks_the_mlflow_service_under_a_name_that_mlflow_accepts() -> None:
    tracking = urlsplit(config_map()["MLFLOW_TRACKING_URI"])
    service = find("Service", tracking.hostname or "")
    assert tracking.port == service["spec"]["ports"][0]["port"]

    (hosts,) = (a for a in container("mlflow")["args"] if a.startswith("--allowed-hosts="))
    allowed = hosts.removeprefix("--allowed-hosts=").split(",")
    for host in (tracking.netloc, "localhost:5001", "127.0.0.1:5001"):
        assert any(fnmatch.fnmatch(host, pattern) for pattern in allowed), host
    assert not any(fnmatch.fnmatch("elsewhere.example:5000", pattern) for pattern in allowed)


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe"])
def test_mlflow_is_ready_only_where_its_host_check_lets_the_api_in(probe: str) -> None:
    request = container("mlflow")[probe]["httpGet"]
    assert request["path"].startswith("/api/2.0/mlflow/")
    (header,) = request["httpHeaders"]
    tracking = urlsplit(config_map()["MLFLOW_TRACKING_URI"])
    assert (header["name"], header["value"]) == ("Host", tracking.netloc)


def test_one_mlflow_pod_at_a_time_writes_the_database() -> None:
    spec = find("Deployment", "mlflow")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_the_mlflow_server_has_the_version_of_the_clients() -> None:
    pins = (ROOT / "requirements.txt").read_text()
    (pinned,) = re.findall(r"^mlflow(?:\[.*?\])?==([\w.]+)", pins, re.MULTILINE)
    assert container("mlflow")["image"] == f"ghcr.io/mlflow/mlflow:v{pinned}"


@pytest.mark.parametrize("name", ["churn-api", "mlflow"])
def test_a_pod_has_no_more_rights_than_it_needs(name: str) -> None:
    spec = pod(name)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    rights = container(name)["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert "/tmp" in {mount["mountPath"] for mount in container(name)["volumeMounts"]}  # noqa: S108


def test_the_image_and_the_manifest_agree() -> None:
    api = container("churn-api")
    (user,) = dockerfile("USER")
    context = pod("churn-api")["spec"]["securityContext"]
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
    (exposed,) = dockerfile("EXPOSE")
    assert int(exposed) == api["ports"][0]["containerPort"]


def test_the_build_gets_every_file_that_it_copies() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    let_in = {line.removeprefix("!").rstrip("/") for line in lines if line.startswith("!")}
    copied = {source.rstrip("/") for copy in dockerfile("COPY") for source in copy.split()[:-1]}
    assert copied == let_in
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_installs_nothing_without_its_hash() -> None:
    (install,) = (line for line in dockerfile("RUN") if "pip install" in line)
    assert "--require-hashes" in install
    assert "-r requirements-api.lock" in install


def test_the_api_needs_no_package_but_those_of_its_image(tmp_path: Path) -> None:
    locked = re.findall(r"^([\w.-]+)==", (ROOT / "requirements-api.lock").read_text(), re.MULTILINE)
    for package in map(distribution, locked):
        folders = {file.parts[0] for file in package.files or ()} - {".."}
        for folder in (tmp_path / name for name in folders if not (tmp_path / name).exists()):
            folder.symlink_to(str(package.locate_file(folder.name)))
    # -S hides what else is installed here.
    started = subprocess.run(
        [sys.executable, "-S", "src/api.py", "--help"],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert started.returncode == 0, started.stderr


def test_a_release_describes_the_image_with_its_own_python() -> None:
    (official,) = (line for line in dockerfile("FROM") if line.endswith(" AS official"))
    (job,) = workflow("release")["jobs"].values()
    (python,) = (step["with"] for step in job["steps"] if "setup-python" in step.get("uses", ""))
    assert official.startswith(f"python:{python['python-version']}-")
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert "make sbom" in commands
    assert "sbom.json" in commands[-1]
    assert "churn-api.tar.gz" in commands[-1]


@pytest.mark.parametrize("name", ["test", "security", "release"])
def test_a_workflow_has_few_rights_and_fixed_actions(name: str) -> None:
    described = workflow(name)
    assert described["permissions"] == {}
    writes = [
        right
        for job in described["jobs"].values()
        for right in job["permissions"].items()
        if right[1] != "read"
    ]
    assert writes == ([("contents", "write")] if name == "release" else [])
    for job in described["jobs"].values():
        assert job["timeout-minutes"] <= 30
        for action in (step["uses"] for step in job["steps"] if "uses" in step):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action


def test_the_local_overlay_changes_an_image_and_a_deployment_that_exist() -> None:
    overlay = kustomization(LOCAL)
    assert [(LOCAL / resource).resolve() for resource in overlay["resources"]] == [BASE]
    images = {container(name)["image"].rpartition(":")[0] for name in ("churn-api", "mlflow")}
    assert {image["name"] for image in overlay["images"]} <= images
    for replicas in overlay["replicas"]:
        find("Deployment", replicas["name"])


def test_kustomize_builds_the_base() -> None:
    built = kustomize_build(BASE)
    (generated,) = (item for item in built if item["kind"] == "ConfigMap")
    api = find("Deployment", "churn-api", built)["spec"]["template"]["spec"]["containers"][0]
    used = api["envFrom"][0]["configMapRef"]["name"]
    assert used == generated["metadata"]["name"]
    assert re.fullmatch(r"churn-api-\w{10}", used), "without the hash a change rolls no pod"


def test_kustomize_builds_the_local_overlay() -> None:
    wanted = kustomization(LOCAL)
    api = find("Deployment", "churn-api", kustomize_build(LOCAL))["spec"]
    (image,) = wanted["images"]
    used = api["template"]["spec"]["containers"][0]["image"]
    assert used == f"{image['newName']}:{image['newTag']}"
    assert api["replicas"] == wanted["replicas"][0]["count"]


def test_the_shared_overlay_has_no_password_and_lets_nobody_in_without_one() -> None:
    pod = find("Deployment", "mlflow", kustomize_build(SHARED))["spec"]["template"]["spec"]
    (mlflow,) = pod["containers"]
    assert mlflow["args"] == [*container("mlflow")["args"], "--app-name=basic-auth"]
    assert mlflow["image"] == f"{container('mlflow')['image']}-full"
    asked = {variable["name"]: variable for variable in mlflow["env"]}
    for name in ("ADMIN_USERNAME", "ADMIN_PASSWORD"):
        source = asked[f"MLFLOW_AUTH_{name}"]["valueFrom"]["secretKeyRef"]
        assert source["name"] == "mlflow-admin"
        assert not source.get("optional")
    for probe in ("startupProbe", "readinessProbe"):
        # With the Host of the base, so that the probe fails where the host check refuses the API.
        assert mlflow[probe]["httpGet"]["httpHeaders"][0]["value"] == "mlflow:5000"
        assert mlflow[probe]["httpGet"]["path"] == "/api/3.0/mlflow/server-info"


def test_the_shared_overlay_treats_users_as_the_server_of_one_machine_does() -> None:
    def settings(path: Path) -> dict[str, str]:
        parser = configparser.ConfigParser()
        parser.read(path)
        return dict(parser["mlflow"])

    here = settings(ROOT / "src/churn/mlflow_auth.ini")
    there = settings(SHARED / "mlflow_auth.ini")
    assert there == here | {"database_uri": "sqlite:////mlflow/basic_auth.db"}


def test_kubernetes_knows_every_field() -> None:
    checker = pytest.importorskip("kubernetes_validate")
    for document in documents():
        checker.validate(document, checker.latest_version(), strict=True)
