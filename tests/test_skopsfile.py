"""What the project loads as a fitted model, and what it refuses without running any of it."""

import io
import json
import os
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import joblib
import pytest
import skops.io
from conftest import copied, registry_of
from project import Project
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from test_model import ESTIMATORS, Estimator, calibrated, customers

import mlflow
from churn import model, skopsfile
from churn.registry import MODEL, Registry
from churn.skopsfile import NotLoaded

EVALUATE = ("python", "src/evaluate.py")


class Bomb:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("calibration", ["none", "sigmoid", "isotonic"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_what_training_makes_is_written_and_read(
    estimator: Estimator, calibration: str, tmp_path: Path
) -> None:
    fitted, path = calibrated(estimator, calibration), tmp_path / "model.skops"
    skopsfile.write(fitted, path)
    features, _ = customers()
    loaded = skopsfile.read(path)
    assert (model.probability(loaded, features) == model.probability(fitted, features)).all()
    assert loaded.threshold == fitted.threshold


def test_the_listed_types_run_no_code_that_a_file_brings() -> None:
    # A function, a partial or a module's attribute is none of them.
    for name in skopsfile.TYPES:
        assert name.startswith(("sklearn.", "numpy.", "builtins."))
    assert not {
        "builtins.eval",
        "sklearn.preprocessing._function_transformer.FunctionTransformer",
    } & (skopsfile.TYPES)


@pytest.mark.parametrize("dump", [pickle.dump, joblib.dump])
def test_a_pickle_is_refused_by_its_name_and_runs_nothing(
    dump: Callable[[Any, Any], Any], tmp_path: Path
) -> None:
    exploded, path = tmp_path / "exploded", tmp_path / "model.skops"
    with path.open("wb") as file:
        dump(Bomb(exploded), file)
    with pytest.raises(NotLoaded, match=r"model\.skops is not loaded: it is a pickle"):
        skopsfile.read(path)
    assert not exploded.exists()
    joblib.load(path)
    assert exploded.exists(), "the bomb is a dud"


def foreign(exploded: Path) -> dict[str, Any]:
    """Objects that skops stores, by the name of what is foreign in them."""
    return {
        "functools.partial": FunctionTransformer(partial(os.system, f"touch {exploded}")),
        "sklearn.neighbors._classification.KNeighborsClassifier": KNeighborsClassifier(),
        "test_skopsfile.Bomb": StandardScaler().set_params(copy=Bomb(exploded)),
    }


@pytest.mark.parametrize("name", foreign(Path()))
def test_a_type_that_is_not_listed_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    exploded, path = tmp_path / "exploded", tmp_path / "model.skops"
    skops.io.dump(foreign(exploded)[name], path)
    with pytest.raises(NotLoaded, match=name) as refused:
        skopsfile.read(path, "version 7")
    assert str(refused.value).startswith("version 7 is not loaded: it holds ")
    assert not exploded.exists()


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the description of the object in a skops file."""
    with ZipFile(path) as archive:
        contents = {entry: archive.read(entry) for entry in archive.namelist()}
    schema = json.loads(contents["schema.json"])
    change(schema)
    contents["schema.json"] = json.dumps(schema).encode()
    with ZipFile(path, "w") as archive:
        for entry, content in contents.items():
            archive.writestr(entry, content)


def test_a_call_that_is_written_into_the_file_is_not_made(tmp_path: Path) -> None:
    exploded, path = tmp_path / "exploded", tmp_path / "model.skops"
    skops.io.dump([f"touch {exploded}"], path)

    def call(schema: dict[str, Any]) -> None:
        schema["__loader__"] = "ConstructorFromReduceNode"
        schema["__module__"], schema["__class__"] = "os", "system"
        schema["content"] = {
            **{"__module__": "builtins", "__class__": "tuple", "__loader__": "TupleNode"},
            "content": schema["content"],
        }

    rewritten(path, call)
    with pytest.raises(NotLoaded, match=r"it holds os\.system"):
        skopsfile.read(path)
    assert not exploded.exists()
    skops.io.load(path, trusted=["os.system"])
    assert exploded.exists(), "the bomb is a dud"


def test_a_method_of_a_listed_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    skops.io.dump(FunctionTransformer(StandardScaler().fit), path)

    def only_the_method(schema: dict[str, Any]) -> None:
        schema.update(schema["content"]["content"]["func"])

    rewritten(path, only_the_method)
    with pytest.raises(NotLoaded, match="fit"):
        skopsfile.read(path)


def test_another_estimator_of_listed_types_is_no_model_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    skops.io.dump(StandardScaler(), path)
    with pytest.raises(NotLoaded, match="StandardScaler, not a FixedThresholdClassifier"):
        skopsfile.read(path)


def packed(schema: bytes, compression: int = 0) -> bytes:
    content = io.BytesIO()
    with ZipFile(content, "w", compression=compression) as archive:
        archive.writestr("schema.json", schema)
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 but no more",
        b"some text",
        packed(b"{"),
        packed(b"[" * 100_000),
        packed(b"{}"),
        packed(b'{"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode"}'),
    ],
)
def test_a_broken_file_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    path.write_bytes(content)
    with pytest.raises(NotLoaded, match=r"model\.skops is not loaded"):
        skopsfile.read(path)


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    path.write_bytes(packed(b" " * 50_000_000, ZIP_DEFLATED))
    assert path.stat().st_size < 100_000
    with pytest.raises(NotLoaded, match="would unpack to more than its size"):
        skopsfile.read(path)


@pytest.fixture(scope="module")
def attacked(
    template: Project, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Project, Registry]]:
    """A project with a running server, on which these tests put what they like."""
    project = copied(template, tmp_path_factory.mktemp("attacked"))
    project.do("python", "src/start_mlflow.py")
    yield project, registry_of(project)
    project.do("python", "src/stop_mlflow.py")


def test_evaluation_reads_no_export_and_refuses_a_pickle_in_its_place(
    attacked: tuple[Project, Registry], tmp_path: Path
) -> None:
    project, _ = attacked
    exploded = tmp_path / "exploded"
    (project.root / "models/model.joblib").write_bytes(pickle.dumps(Bomb(exploded)))
    project.do(*EVALUATE)
    assert not exploded.exists()
    (project.root / "models/model.skops").write_bytes(pickle.dumps(Bomb(exploded)))
    line = project.refused(*EVALUATE)
    assert line == (
        "models/model.skops is not loaded: it is a pickle, which executes what it holds"
    )
    assert not exploded.exists()
    (project.root / "models/model.skops").unlink()
    assert project.refused(*EVALUATE) == (
        "models/model.skops is missing; `dvc repro train` makes it"
    )


def test_a_version_that_was_registered_as_a_pickle_is_refused(
    attacked: tuple[Project, Registry], tmp_path: Path
) -> None:
    project, registry = attacked
    mlflow.set_tracking_uri(project.mlflow_uri)
    exploded = tmp_path / "exploded"
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            calibrated("logistic_regression", "none"),
            name="model",
            serialization_format="pickle",
            registered_model_name=MODEL,
            pip_requirements=["scikit-learn"],
        )
    number = registry.versions()[0].number
    root = registry.artifact_uri(number)
    registry.mlflow.put_artifact(f"{root}/model.pkl", pickle.dumps(Bomb(exploded)))
    with pytest.raises(NotLoaded, match=rf"{MODEL} version {number} is not loaded: .*\(pickle\)"):
        skopsfile.of_version(registry, number)
    assert not exploded.exists()
    mlflow.sklearn.load_model(f"models:/{MODEL}/{number}")
    assert exploded.exists(), "the bomb is a dud"


def test_a_version_does_not_say_itself_which_types_are_trusted(
    attacked: tuple[Project, Registry], tmp_path: Path
) -> None:
    _, registry = attacked
    root, exploded = registry.artifact_uri("2"), tmp_path / "exploded"
    assert skopsfile.of_version(registry, "2").threshold > 0
    content = skops.io.dumps(foreign(exploded)["functools.partial"])
    registry.mlflow.put_artifact(f"{root}/model.skops", content)
    description = registry.mlflow.get_artifact(f"{root}/MLmodel").decode()
    assert "- numpy.dtype" in description
    registry.mlflow.put_artifact(
        f"{root}/MLmodel",
        description.replace("- numpy.dtype", "- numpy.dtype\n    - functools.partial").encode(),
    )
    with pytest.raises(NotLoaded, match=f"{MODEL} version 2 is not loaded: it holds functools"):
        skopsfile.of_version(registry, "2")
    registry.mlflow.put_artifact(f"{root}/model.skops", pickle.dumps(Bomb(exploded)))
    with pytest.raises(NotLoaded, match=f"{MODEL} version 2 is not loaded: it is a pickle"):
        skopsfile.of_version(registry, "2")
    registry.mlflow.put_artifact(f"{root}/MLmodel", b"flavors: {python_function: {}}")
    with pytest.raises(NotLoaded, match="no scikit-learn model"):
        skopsfile.of_version(registry, "2")
    assert not exploded.exists()
