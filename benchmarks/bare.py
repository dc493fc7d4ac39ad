"""What bench_serving.py measures beside the project's own: one process each.

bare.py fastapi | starlette            a server at PORT with a constant answer
bare.py table FILE ROWS                a table of customers to score
bare.py pandas|polars IN OUT VERSION   the same scoring by other means; prints seconds as JSON
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ANSWER = {
    "request_id": "0123456789abcdef0123456789abcdef",
    "prediction": 1,
    "probability": 0.7312,
    "threshold": 0.36,
    "model_name": "churn_model",
    "model_version": "3",
    "warnings": [],
}


def fastapi() -> None:
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel, ConfigDict

    class Row(BaseModel):
        tenure_months: int
        num_complaints: int
        avg_session_minutes: float
        plan_type: str
        region: str
        request_id: str | None = None

    class Answer(BaseModel):
        model_config = ConfigDict(protected_namespaces=())

        request_id: str
        prediction: int
        probability: float
        threshold: float
        model_name: str
        model_version: str
        warnings: list[str]

    app = FastAPI()

    @app.post("/predict")
    async def predict(row: Row) -> Answer:
        return Answer.model_validate(ANSWER)

    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")


def starlette() -> None:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    answer = json.dumps(ANSWER).encode()

    async def predict(request: Request) -> Response:
        await request.body()
        return Response(answer, media_type="application/json")

    app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")


def table(path: str, rows: str) -> None:
    """Customers like those of the sample, each with a number."""
    import polars as pl

    sample = pl.read_csv("data/raw.csv", infer_schema=False).drop("churn")
    count = int(rows)
    drawn = sample.sample(count, with_replacement=True, seed=1)
    ids = pl.int_range(count, eager=True).cast(pl.String).alias("customer")
    drawn.insert_column(0, ids).write_csv(path)


def pandas(source: str, out: str, version: str) -> None:
    """As most people do it."""
    begin = time.perf_counter()
    import pandas as pd

    import mlflow

    sys.path.insert(0, str(ROOT / "src"))
    from churn import skopsfile

    folder = mlflow.artifacts.download_artifacts(f"models:/churn_model/{version}")
    model = skopsfile.read(Path(folder) / "model.skops")
    rows = pd.read_csv(source, keep_default_na=False, na_values=[""])
    rows["probability"] = model.predict_proba(rows[model.feature_names_in_])[:, 1]
    rows["prediction"] = (rows["probability"] >= model.threshold).astype(int)
    rows["model_version"] = version
    rows.to_csv(out, index=False)
    print(json.dumps({"pandas": time.perf_counter() - begin}))


def polars(source: str, out: str, version: str) -> None:
    """The file read and written, and the compiled model on the ready matrix on all cores: what
    score.py cannot do without."""
    import polars as pl

    sys.path.insert(0, str(ROOT / "src"))
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from churn.environment import read_environment
    from churn.registry import Registry
    from churn.rest import Mlflow
    from churn.served import Served
    from churn.table import clean_features

    begin = time.perf_counter()
    rows = pl.read_csv(source)
    rows.write_csv(out)
    read_write = time.perf_counter() - begin
    registry = Registry(Mlflow(read_environment()))
    scorer = Served.load(registry, registry.version(version)).scorer
    texts = pl.read_csv(source, infer_schema=False, empty_string_is_null=False)
    matrix = scorer.encode_frame(clean_features(texts, scorer.schema)[0])
    parts = np.array_split(matrix, max(1, len(matrix) // 50_000))
    begin = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(scorer.probabilities, parts))
    print(json.dumps({"read_write": read_write, "scorer": time.perf_counter() - begin}))


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    named: dict[str, Callable[..., None]] = {
        each.__name__: each for each in (fastapi, starlette, table, pandas, polars)
    }
    named[what](*arguments)
