"""Prompts, policies, completions, rounds and guidelines over REST: a round from nothing, as a program makes it."""

import json

import pytest


@pytest.fixture
def rest(client, people):
    headers = people.bearer(people.admin())

    def call(method: str, path: str, status: int = 200, **more):
        answer = client.request(method, f"/api/v1{path}", headers=headers, **more)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    return call


def test_a_round_from_nothing(rest):
    one = rest("POST", "/prompts", 201, json={"prompt": "Name a river.", "collection": "mine", "split": "train"})
    many = rest(
        "POST",
        "/prompts",
        201,
        json={
            "prompts": [{"instruction": "Name a", "input": "sea", "collection": "mine"}, {"prompt": "Name a river."}]
        },
    )["items"]
    assert many[1]["id"] == one["id"]
    assert many[0]["messages"] == [{"role": "user", "text": "Name a\n\nsea"}]
    assert [item["id"] for item in rest("GET", "/prompts?q=RIVER")["items"]] == [one["id"]]

    live = {"name": "live", "kind": "endpoint", "endpoint_url": "http://127.0.0.1:9/v1"}
    assert rest("POST", "/policies", 201, json=live)["kind"] == "endpoint"
    rows = [
        {"prompt": prompt["id"], "policy": policy, "text": f"{policy} {number}"}
        for prompt in (one, many[0])
        for policy in ("a", "b")
        for number in range(2)
    ]
    stored = rest("POST", "/completions", 201, json={"completions": rows})["items"]
    assert len({completion["id"] for completion in stored}) == 8
    assert rest("POST", "/completions", 201, json=rows[0])["id"] == stored[0]["id"]
    assert len(rest("GET", f"/completions?prompt={one['id']}&policy=a")["items"]) == 2
    assert {policy["name"] for policy in rest("GET", "/policies")["items"]} == {"a", "b", "live"}

    plan = {"comparisons": {"collections": ["mine"]}, "demonstrations": {"count": 1}, "completions": 3}
    made = rest("POST", "/rounds", 201, json={"name": "One", "plan": plan, "overlap": 2})
    assert made["items"] == {"comparison": 2, "demonstration": 1}
    assert (made["state"], made["guideline"], made["guideline_version"]) == ("draft", "training", 1)
    items = rest("GET", f"/rounds/{made['id']}/items?limit=2")
    assert [item["kind"] for item in items["items"]] == ["demonstration", "comparison"]
    assert len(items["items"][1]["completions"]) == 3
    rest_of = rest("GET", f"/rounds/{made['id']}/items?cursor={items['next_cursor']}")
    assert [item["position"] for item in rest_of["items"]] == [2]
    assert rest("POST", f"/rounds/{made['id']}/prepare")["items"] == made["items"]
    opened = rest("POST", f"/rounds/{made['id']}/open")
    assert (opened["state"], opened["assignments"]) == ("open", {"open": 6, "leased": 0, "submitted": 0})
    rest("POST", f"/rounds/{made['id']}/open", 409)
    rest("POST", f"/rounds/{made['id']}/prepare", 409)
    rest("DELETE", f"/rounds/{made['id']}", 409)
    assert rest("POST", f"/rounds/{made['id']}/close")["state"] == "closed"
    second = rest("POST", "/rounds", 201, json={"name": "Two", "plan": plan})
    rest("DELETE", f"/rounds/{second['id']}", 204)
    assert [round["number"] for round in rest("GET", "/rounds")["items"]] == [1]
    actions = {entry["action"] for entry in rest("GET", "/audit")["items"]}
    assert {"round.create", "round.open", "round.close", "round.discard", "policy.create"} <= actions


def test_many_are_stored_together_or_not_at_all(rest):
    wrong = rest("POST", "/prompts", 422, json={"prompts": [{"prompt": "Good?"}, {"source": "customer"}]})
    assert wrong["field"] == "prompts.1.prompt"
    long = {"prompts": [{"prompt": "Good?"}, {"prompt": "word " * 2000}]}
    assert rest("POST", "/prompts", 422, json=long)["field"] == "prompts.1.prompt"
    assert rest("GET", "/prompts")["items"] == []
    prompt = rest("POST", "/prompts", 201, json={"prompt": "Good?"})
    rows = [
        {"prompt": prompt["id"], "policy": "a", "text": "x"},
        {"prompt": prompt["id"], "policy": "people", "text": "y"},
        {"prompt": "nowhere", "policy": "a", "text": "z"},
    ]
    assert rest("POST", "/completions", 422, json={"completions": rows[::2]})["field"] == "completions.1.prompt"
    assert rest("GET", "/completions")["items"] == []


def test_withdrawing_and_describing_a_prompt(rest):
    id = rest("POST", "/prompts", 201, json={"prompt": "Good?", "use_case": "chat"})["id"]
    changed = rest("PATCH", f"/prompts/{id}", json={"answers": {"closed_domain": True, "ambiguous": None}})
    assert (changed["answers"], changed["use_case"]) == ({"closed_domain": True}, "chat")
    assert rest("PATCH", f"/prompts/{id}", 422, json={"answers": {"nice": True}})["field"] == "answers"
    assert rest("POST", f"/prompts/{id}/withdraw")["withdrawn"]
    assert rest("GET", "/prompts")["items"] == []
    assert not rest("POST", f"/prompts/{id}/restore")["withdrawn"]
    rest("GET", "/prompts/nowhere", 404)


def test_importing_over_rest(rest):
    lines = b'{"prompt": "One?"}\n{"nothing": 1}\n'
    report = rest("POST", "/prompts/import?collection=mine", files={"file": ("x.jsonl", lines)})
    assert (report["written"], report["problems"][0]["line"]) == (False, 2)
    assert rest("POST", "/prompts/import?skip_bad=true&collection=mine", files={"file": ("x.jsonl", lines)})["written"]
    answers = b"prompt,completion\nOne?,First.\n"
    report = rest("POST", "/completions/import?policy=a", files={"file": ("x.csv", answers)})
    assert (report["added"], report["written"]) == (1, True)
    pair = json.dumps({"prompt": "One?", "chosen": "x", "rejected": "y"}).encode()
    report = rest("POST", "/comparisons/import?format=pairs&collection=c", files={"file": ("x.jsonl", pair)})
    assert (report["added"], report["written"]) == (1, True)


def test_guidelines_and_forms(rest):
    rest("POST", "/guidelines", 201, json={"name": "house", "title": "House", "body": "Be *kind*."})
    again = {"name": "house", "title": "House", "body": "Be **kind**.", "what_changed": "More so."}
    assert rest("POST", "/guidelines", 201, json=again)["version"] == 2
    assert [one["version"] for one in rest("GET", "/guidelines?name=house")["items"]] == [2, 1]
    rest("POST", "/prompts", 201, json={"prompt": "Good?"})
    made = rest("POST", "/rounds", 201, json={"name": "1", "plan": {"demonstrations": {}}, "guideline": "house"})
    assert (made["guideline"], made["guideline_version"]) == ("house", 2)
    forms = rest("GET", "/forms")["items"]
    assert {(form["kind"], form["version"]) for form in forms} == {("completion", 1), ("prompt", 1)}
    assert len(next(form for form in forms if form["kind"] == "completion")["questions"]) == 12


def test_labelers_have_no_part_in_it(client, people):
    labeler = people.bearer(people.labeler())
    for path in ("prompts", "rounds", "policies", "completions", "guidelines", "forms", "rounds/x/items"):
        assert client.get(f"/api/v1/{path}", headers=labeler).status_code == 403
        assert client.get(f"/api/v1/{path}").status_code == 401
    assert client.post("/api/v1/rounds/x/open", headers=labeler).status_code == 403
