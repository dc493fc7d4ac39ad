"""The API processes of API_URLS, and what each says that it serves."""

from dataclasses import dataclass

from churn.http import httpx


@dataclass(frozen=True)
class Api:
    """What an API says of itself: the version that it serves and the one that it should, and what
    is wrong. Where it does not answer as one, `problem` says how."""

    url: str
    answers: bool
    version: str | None
    desired: str | None
    problem: str | None


def ask(url: str, key: str = "") -> Api:
    """What the API at this address serves; it may want a key."""
    try:
        # A proxy meant for the internet does not know the APIs of this place, and loading the
        # certificates takes 70 ms.
        secure = url.startswith("https:")
        headers = {"X-API-Key": key} if key else {}
        answer = httpx.get(
            f"{url}/model", headers=headers, timeout=2, trust_env=False, verify=secure
        )
    except httpx.HTTPError as error:
        return Api(url, False, None, None, f"does not answer ({error})")
    try:
        state = answer.json()
        version = state["served"]["version"] if state["served"] else None
        return Api(url, True, version, state["desired_version"], state["problem"])
    except (ValueError, KeyError, TypeError):
        if answer.status_code == 401:
            return Api(url, False, None, None, "wants a key: set API_KEY")
        said = f"answers, but not as this API (HTTP {answer.status_code})"
        return Api(url, False, None, None, said)
