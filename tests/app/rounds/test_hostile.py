"""Values that a database cannot hold, in every place that takes one: told as the sender's, never as our fault."""

import json

NUL, HUGE = "\x00", 10**40
NAMES = ("prompts", "policies", "completions", "rounds", "guidelines")


def requests(prompt: str, round: str):
    """(method, path, body or file)."""
    for name in NAMES:
        yield "GET", f"/{name}/%00", None
        yield "GET", f"/{name}?cursor=%00", None
        yield "GET", f"/{name}?q=%00&prompt=%00&policy=%00&owner=%00&collection=%00&name=%00", None
    yield "GET", f"/rounds/{round}/items?cursor={HUGE}", None
    for plan in (
        {"demonstrations": {"seed": HUGE}},
        {"demonstrations": {"seed": -1}},
        {"demonstrations": {"count": HUGE}},
        {"demonstrations": {"collections": [NUL]}},
        {"demonstrations": {"prompts": [NUL]}},
        {"comparisons": {}, "seed": -HUGE},
        {"comparisons": {}, "policies": [{"policy": NUL}]},
    ):
        yield "POST", "/rounds", {"name": "x", "plan": plan}
    yield "POST", "/rounds", {"name": NUL, "plan": {"demonstrations": {}}}
    yield "POST", "/rounds", {"name": "x", "plan": {"demonstrations": {}}, "guideline": NUL}
    for policy in ({"name": NUL}, {"name": " "}, {"name": "a", "description": NUL}):
        yield "POST", "/policies", policy
    for completion in (
        {"prompt": NUL},
        {"policy": NUL},
        {"policy": " "},
        {"text": NUL},
        {"tokens": HUGE},
        {"settings": {NUL: NUL}},
        {"settings": {"x": HUGE}},
    ):
        yield "POST", "/completions", {"prompt": prompt, "policy": "a", "text": "b", **completion}
    for given in (
        {"prompt": "x", "owner": NUL},
        {"prompt": "x", "collection": NUL},
        {"messages": [{"role": [], "text": "a"}]},
        {"prompt": "y", "answers": {NUL: True}},
        {"instruction": NUL},
        {"prompt": [{"role": "user"}]},
    ):
        yield "POST", "/prompts", given
    yield "PATCH", f"/prompts/{prompt}", {"answers": {NUL: True}}
    for given in ({"title": NUL}, {"body": NUL}, {"name": "a\n"}):
        yield "POST", "/guidelines", {"name": "a", "title": "a", "body": "b", **given}
    row = {"prompt": "z", "completion": "x", "chosen": "x", "rejected": "y"}
    for query in ("collection=%00", "owner=%00", "owner_field=%00", f"collection={'x' * 300}", "source=x"):
        yield "POST", f"/prompts/import?{query}", [row]
        yield "POST", f"/completions/import?add_prompts=true&policy=a&{query}", [row]
        yield "POST", f"/comparisons/import?format=pairs&{query}", [row]
    yield "POST", "/completions/import?policy=%00&add_prompts=true", [row]
    for given in ({"settings": {"a": NUL}}, {"policy": NUL}, {"owner": NUL, "collection": NUL}):
        yield "POST", "/completions/import?policy=p&add_prompts=true", [{**row, **given}]
    yield "POST", "/comparisons/import?format=pairs", [{**row, "labeler": NUL}]
    ranked = [{"text": "a", "policy": "p", "tier": 1}, {"text": "b", "policy": "q", "tier": 20}]
    ranking = {
        "prompt_key": "1",
        "prompt": [{"role": "user", "text": "Hi"}],
        "split": "train",
        "labeler": "l",
        "pool": "train",
        "completions": ranked,
    }
    yield "POST", "/comparisons/import?format=rankings", [ranking]
    yield "POST", "/comparisons/import?format=rankings", [{**ranking, "labeler": NUL}]
    for member in ({"policy": NUL}, {"tier": HUGE}, {"shown_position": 8}):
        yield (
            "POST",
            "/comparisons/import?format=rankings",
            [{**ranking, "completions": [{**ranked[0], **member}, ranked[1]]}],
        )


def test_what_cannot_be_stored_is_told(client, people):
    headers = people.bearer(people.admin())

    def send(method: str, path: str, body):
        if isinstance(body, list):
            content = "\n".join(json.dumps(row) for row in body).encode()
            return client.request(method, f"/api/v1{path}", headers=headers, files={"file": ("x.jsonl", content)})
        return client.request(method, f"/api/v1{path}", headers=headers, json=body)

    prompt = send("POST", "/prompts", {"prompt": "Hi?"}).json()["id"]
    round = send("POST", "/rounds", {"name": "x", "plan": {"demonstrations": {}}}).json()["id"]
    for method, path, body in requests(prompt, round):
        answer = send(method, path, body)
        assert answer.status_code < 500, (method, path, body, answer.text)
