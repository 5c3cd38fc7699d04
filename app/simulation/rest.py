"""A REST client with clear errors, and the work of simulated labelers over it."""

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import httpx

from app.errors import PlumblineError
from app.simulation.labelers import Labeler
from training.contract.records import Flag
from training.miniature.rubric import UnknownPrompt

TRIES = 5
CALIBRATION_ITEMS = 60  # comparisons on which the labelers' noise is calibrated
_FLAGS = frozenset(Flag)


class RestError(PlumblineError):
    """Raised if the server refused a request or did not answer."""


class Api:
    """Requests with a bearer token; requests without a response and those with a 502, 503 or 504 are retried."""

    def __init__(self, url: str, token: str):
        self.url = url.rstrip("/")
        self.http = httpx.Client(
            base_url=f"{self.url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False
        )

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def as_(self, token: str) -> "Api":
        """Return a client for the same server with another token."""
        return Api(self.url, token)

    def call(self, method: str, path: str, json: object = None, headers: dict[str, str] | None = None, **query) -> dict:
        """Return the response's JSON, or {} without a body; raise RestError with the server's message."""
        for again in range(TRIES):
            try:
                reply = self.http.request(method, path, json=json, headers=headers, params=query or None)
            except httpx.TransportError as error:
                if again == TRIES - 1:
                    raise RestError(f"{self.url} does not answer ({error}); is Plumbline running there?") from error
            else:
                if reply.status_code not in (502, 503, 504) or again == TRIES - 1:
                    break
            time.sleep(2**again / 4)
        if reply.is_error:
            problem = reply.json() if "json" in reply.headers.get("content-type", "") else {}
            said = problem.get("detail") or problem.get("title") or reply.text[:200]
            raise RestError(f"{method} {path}: {reply.status_code} {said}")
        return reply.json() if reply.content else {}

    def get(self, path: str, **query) -> dict:
        """Send a GET request."""
        return self.call("GET", path, **query)

    def post(self, path: str, json: object = None, **headers: str) -> dict:
        """Send a POST request."""
        return self.call("POST", path, json, {name.replace("_", "-"): value for name, value in headers.items()})

    def every(self, path: str, **query) -> Iterator[dict]:
        """Yield all items of a list, page by page."""
        cursor = None
        while True:
            page = self.get(path, **query, **({"cursor": cursor} if cursor else {}))
            yield from page["items"]
            cursor = page["next_cursor"]
            if not cursor:
                return


@dataclass(frozen=True)
class SubmittedAnswer:
    """An answer that a simulated labeler submitted: `tiers` by text for a comparison, None for a demonstration."""

    labeler: Labeler
    prompt: str
    tiers: dict[str, int] | None


def work(labeler: Labeler, desk: Api) -> SubmittedAnswer | None:
    """Do the labeler's next task, skipping prompts outside the miniature world; return None if none is waiting."""
    while assignment := desk.post("/assignments/next"):
        path = f"/assignments/{assignment['id']}"
        prompt = assignment["prompt"][-1]["text"]
        texts = {shown["letter"]: shown["text"] for shown in assignment["completions"]}
        try:
            if texts:
                asked = [Flag(one["name"]) for one in assignment["questions"] if one["name"] in _FLAGS]
                answers = labeler.compare(prompt, texts, asked)
                content: dict = {"completions": answers}
                tiers = {texts[letter]: answer["tier"] for letter, answer in answers.items()}
            elif assignment["first_role"] == "user":
                raise UnknownPrompt
            elif assignment["kind"] == "conversation":
                answer = {"role": "assistant", "text": labeler.demonstrate(prompt)}
                content, tiers = {"messages": [answer]}, None
            else:
                content, tiers = {"text": labeler.demonstrate(prompt)}, None
        except UnknownPrompt:
            desk.post(f"{path}/skip", {"reason": "needs_expertise", "note": "not a prompt of the miniature world"})
            continue
        # The idempotency key makes a retry return the same response, so a lost reply does no harm.
        key = f"simulated-{labeler.seed}-{labeler.number}-{assignment['id']}"
        desk.post(f"{path}/submit", {"fence": assignment["fence"], **content}, Idempotency_Key=key)
        return SubmittedAnswer(labeler, prompt, tiers)
    return None


def day(crew: Sequence[tuple[Labeler, Api]]) -> Iterator[SubmittedAnswer]:
    """Let labelers take turns, one task each, until none has a task left; yield their answers."""
    waiting = list(crew)
    while waiting:
        still = []
        for labeler, desk in waiting:
            if (answer := work(labeler, desk)) is not None:
                still.append((labeler, desk))
                yield answer
        waiting = still


def compared(api: Api, round_id: str) -> list[dict]:
    """Return the comparisons of a round, in the order in which they are assigned."""
    return [item for item in api.every(f"/rounds/{round_id}/items") if item["kind"] == "comparison"]


def texts(api: Api, items: Sequence[dict]) -> dict[str, list[str]]:
    """Return the texts of some comparisons, by prompt."""
    found = {}
    for item in items:
        prompt = api.get(f"/prompts/{item['prompt']}")["messages"][-1]["text"]
        written = {one["id"]: one["text"] for one in api.every("/completions", prompt=item["prompt"])}
        found[prompt] = [written[id] for id in item["completions"]]
    return found


def sign_up(api: Api, labelers: Sequence[Labeler]) -> list[str]:
    """Create an account for each labeler that has none, and return for each a token valid for a day."""
    known = {one["username"]: one["id"] for one in api.every("/accounts", text="simulated-")}
    tokens = []
    for labeler in labelers:
        if labeler.username not in known:
            made = api.post(
                "/accounts",
                {
                    "username": labeler.username,
                    "name": f"Simulated labeler {labeler.number}",
                    "password": secrets.token_urlsafe(24),
                    "pool": labeler.pool,
                    "simulated": True,
                },
            )
            known[labeler.username] = made["id"]
        given = {"name": "simulation", "scopes": ["work"], "days": 1}
        tokens.append(api.post(f"/accounts/{known[labeler.username]}/tokens", given)["token"])
    return tokens
