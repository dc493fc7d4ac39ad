# The image of the API only. Training and the MLflow server do not run in it.
#
#   docker build -t churn-api:0.1.0 .
#   docker run --rm --read-only --tmpfs /tmp -p 8000:8000 -e MLFLOW_TRACKING_URI=http://mlflow:5000 \
#     -e API_KEYS="me:$(openssl rand -hex 24)" churn-api:0.1.0

# An ARG, so that a registry mirror or a hardened base can stand in for the official image, which
# has a FROM of its own because Dependabot reads no ARG. Only the one in use is fetched.
ARG BASE=official
FROM python:3.11-slim AS official
FROM ${BASE}

# A virtual environment, because Debian's own Python refuses a system-wide pip install (PEP 668).
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH

WORKDIR /app
COPY requirements-api.lock ./
# Only what the lock has the hash of, and only wheels, which run no code of theirs here.
# pip byte-compiles what it installs. It has to happen now: the running container can write no .pyc,
# and imports without them take three times as long at every start.
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements-api.lock

COPY src/api.py src/
COPY src/churn/ src/churn/
RUN python -m compileall -q src

# HOME, because a numeric user has no home folder, and /tmp is the one place that may be written to.
# The prediction log and the versions that were served want a volume: mount one and name its folders
# in PREDICTION_LOG and MODEL_CACHE.
ENV HOME=/tmp \
    PREDICTION_LOG=off \
    MODEL_CACHE=off \
    HOST=0.0.0.0 \
    PORT=8000 \
    PYTHONUNBUFFERED=1
EXPOSE 8000
# A number and not a name: Kubernetes' runAsNonRoot cannot judge a name.
USER 10001:10001

HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health', timeout=4)"]

CMD ["python", "src/api.py"]
