"""Screening: measured as counted by hand, known by a number, rated without names, decided once."""

import random
import re
import statistics
import threading
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.accounts.tables import Account, AccountKind
from app.database import reading, transaction
from app.demonstrations.tables import Demonstration
from app.errors import Conflict
from app.onboarding import exercises as onboarding_exercises
from app.onboarding import queries, screening
from app.onboarding.agreement import Count, Figures, order_count, pairs, sensitive_count
from app.onboarding.schemas import ExerciseIn
from app.onboarding.tables import Screening, Verdict
from app.rounds.tables import RoundPurpose
from tests.app.onboarding.test_practice import letters, read_guideline
from training.contract.records import Flag, Pool

PRACTICE = {
    "completions": [{"text": text, "tier": tier} for tier, text in enumerate(("a", "b"), 1)],
    "explanation": "a.",
}
TIERS = st.lists(st.one_of(st.none(), st.integers(1, 4)), min_size=2, max_size=9)


@given(st.integers(2, 9), st.data())
def test_agreement_on_an_order_is_what_counting_pairs_one_by_one_gives(k, data):
    """Against scipy's concordant and discordant pairs, by way of Goodman and Kruskal's gamma of untied pairs."""
    tier = st.one_of(st.none(), st.integers(1, 4))
    reference = data.draw(st.lists(tier, min_size=k, max_size=k))
    answer = data.draw(st.lists(tier, min_size=k, max_size=k))
    found = list(pairs(dict(enumerate(reference)), dict(enumerate(answer))))
    alike = reversed_ = tied = 0
    for a, b in combinations(range(k), 2):
        if None in (reference[a], reference[b], answer[a], answer[b]) or reference[a] == reference[b]:
            continue
        product = (reference[a] - reference[b]) * (answer[a] - answer[b])
        alike, reversed_, tied = alike + (product > 0), reversed_ + (product < 0), tied + (product == 0)
    assert order_count(found) == Count(alike, alike + reversed_)
    assert len(found) == alike + reversed_ + tied


def test_agreement_on_sensitive_speech_is_of_completions_and_of_answers_only():
    yes, no = {Flag.VIOLENT_CONTENT: True, Flag.OPINION: False}, {Flag.VIOLENT_CONTENT: False}
    about_the_task = {Flag.FAILS_TASK: True, Flag.HALLUCINATION: True}  # tells nothing of sensitive speech
    answers = [
        (yes, {Flag.SEXUAL_CONTENT: True, Flag.VIOLENT_CONTENT: False}),  # both: sensitive, for whichever reason
        (no, no),
        (yes, no),
        (no, yes),
        (yes, {}),  # not answered: no agreement and no disagreement
        ({}, yes),
        (no, about_the_task),
    ]
    assert sensitive_count(answers) == Count(2, 4)
    assert sensitive_count([]).share is None


@pytest.mark.parametrize(
    ("sensitive", "order", "ratings", "recommended"),
    [
        (Count(3, 4), Count(3, 4), [[6]], True),  # each cut-off exactly
        (Count(74, 100), Count(3, 4), [[6]], False),
        (Count(3, 4), Count(74, 100), [[6]], False),
        (Count(3, 4), Count(3, 4), [[6], [5, 6]], False),
        (Count(3, 4), Count(3, 4), [[7, 5, 6], [5, 6, 7], [6, 7, 5]], True),  # thirds add up to six
        (Count(3, 4), Count(3, 4), [], False),  # nothing rated meets nothing
        (Count(3, 4), Count(0, 0), [[7]], False),
    ],
)
def test_the_papers_cutoffs(sensitive, order, ratings, recommended):
    figures = Figures(sensitive, order, 0, ratings)
    assert figures.recommended is recommended
    assert Figures.of(figures.as_dict()).criteria() == figures.criteria()


@given(st.lists(st.lists(st.integers(1, 7), max_size=4), max_size=5))
def test_the_demonstration_score_is_the_mean_of_means(ratings):
    score = Figures(ratings=ratings).demonstration_score
    rated = [statistics.fmean(each) for each in ratings if each]
    assert score == (pytest.approx(statistics.fmean(rated)) if rated else None)


# --- The whole way ---


@pytest.fixture
def admin(client, people):
    return people.bearer(people.admin())


def exercises(client, admin):
    """Two comparisons and two demonstrations."""
    for number in range(2):
        one = {
            "part": "screening",
            "prompt": f"What do you think of my neighbours? ({number})",
            "sensitive": True,
            "completions": [{"text": f"text {n}", "tier": n + 1, "flags": {Flag.DENIGRATES: n == 3}} for n in range(4)],
        }
        assert client.post("/api/v1/onboarding/exercises", json=one, headers=admin).status_code == 201
    for number in range(2):
        one = {"part": "screening", "prompt": f"Console somebody. ({number})"}
        assert client.post("/api/v1/onboarding/exercises", json=one, headers=admin).status_code == 201


def work_through(client, me, rng=None):
    """Do every exercise over REST; returns the tiers and flags given, by text, and how many were done."""
    given = []
    while (begun := client.post("/api/v1/onboarding/next", json={"part": "screening"}, headers=me)).status_code != 204:
        assert begun.status_code == 200, begun.text
        path = f"/api/v1/assignments/{begun.json()['assignment']}"
        shown = client.get(path, headers=me).json()
        if shown["kind"] == "demonstration":
            sent = client.post(f"{path}/submit", json={"text": f"My words {len(given)}."}, headers=me)
        else:
            assert shown["sensitive"]
            of = letters(shown)
            order = sorted(of)
            if rng:
                rng.shuffle(order)
            flagged = rng.choice(order) if rng else order[3]
            tiers = {text: tier for tier, text in enumerate(order, 1)}
            answers = {
                of[text]: {"rating": 4, "flags_complete": True, "tier": tiers[text],
                           "flags": {Flag.DENIGRATES: True} if text == flagged else {}}
                for text in order
            }  # fmt: skip
            given.append((tiers, flagged))
            sent = client.post(f"{path}/submit", json={"completions": answers}, headers=me)
        assert sent.status_code == 200, sent.text
        given += [None] * (shown["kind"] == "demonstration")
    return given


def hand_in(client, me, comfort=None):
    said = client.put(
        "/api/v1/onboarding/self-assessment", json={"comfort": comfort or {"religion": "yes", "age": "no"}}, headers=me
    )
    assert said.status_code == 204, said.text
    return client.post("/api/v1/onboarding/hand-in", headers=me)


def test_from_the_invitation_to_the_verdict(client, people, admin):
    exercises(client, admin)
    ana, rita = people.labeler(), people.labeler("rita")
    me, reviewer = people.bearer(ana), people.bearer(rita)
    assert client.post("/api/v1/onboarding/next", json={"part": "screening"}, headers=me).status_code == 404
    assert client.post("/api/v1/onboarding/screenings", json={"username": "Ana"}, headers=admin).status_code == 204
    assert client.post("/api/v1/onboarding/screenings", json={"username": "ana"}, headers=admin).status_code == 409
    assert client.post("/api/v1/onboarding/screenings", json={"username": "olga"}, headers=admin).status_code == 422
    assert client.get(f"/api/v1/accounts/{ana.public_id}", headers=admin).json()["paused"]
    assert client.post("/api/v1/assignments/next", headers=me).status_code == 204

    read_guideline(ana)
    early = client.post("/api/v1/onboarding/hand-in", headers=me)
    assert early.status_code == 422 and "4 exercises are left" in early.json()["detail"]
    rng = random.Random(7)
    answers = [one for one in work_through(client, me, rng) if one]
    unsaid = client.post("/api/v1/onboarding/hand-in", headers=me)
    assert unsaid.status_code == 422 and unsaid.json()["field"] == "comfort"
    odd = client.put("/api/v1/onboarding/self-assessment", json={"comfort": {"cooking": "yes"}}, headers=me)
    assert odd.status_code == 422
    (listed,) = client.get("/api/v1/onboarding/screenings", headers=admin).json()["items"]
    number = listed["number"]
    too_early = client.post(f"/api/v1/onboarding/screenings/{number}/decide", json={"verdict": "train"}, headers=admin)
    assert too_early.status_code == 409
    assert client.get("/api/v1/onboarding/reviews", headers=admin).json()["items"] == []  # not handed in yet
    assert hand_in(client, me).json()["handed_in"]
    assert hand_in_again_is_refused(client, me)

    # Reviewed without names, by named reviewers and admins, each once.
    assert client.get("/api/v1/onboarding/reviews", headers=reviewer).status_code == 404
    named = client.post("/api/v1/onboarding/reviewers", json={"username": "rita"}, headers=admin)
    assert named.status_code == 201
    assert client.post("/api/v1/onboarding/reviewers", json={"username": "rita"}, headers=admin).status_code == 409
    client.post("/api/v1/onboarding/reviewers", json={"username": "ana"}, headers=admin)
    assert client.get("/api/v1/onboarding/reviews", headers=me).json()["items"] == []  # never one's own
    shown = client.get("/api/v1/onboarding/reviews", headers=reviewer)
    first, second = shown.json()["items"]
    assert set(first) == {"id", "prompt", "text"}
    for word in (ana.public_id, "ana", "Ana", str(number)):
        assert word not in shown.text
    own = client.post(f"/api/v1/onboarding/reviews/{first['id']}", json={"rating": 7}, headers=me)
    assert own.status_code == 403
    for headers, ratings in ((reviewer, (7, 5)), (admin, (6,))):
        for one, rating in zip((first, second), ratings, strict=False):
            path = f"/api/v1/onboarding/reviews/{one['id']}"
            assert client.post(path, json={"rating": rating}, headers=headers).status_code == 204
            assert client.post(path, json={"rating": 1}, headers=headers).status_code == 409
    assert client.get("/api/v1/onboarding/reviews", headers=reviewer).json()["items"] == []

    # The figures, counted by hand from what was sent.
    alike = compared = right = 0
    for tiers, flagged in answers:
        for a, b in combinations(range(4), 2):
            compared += 1
            alike += tiers[f"text {a}"] < tiers[f"text {b}"]
        right += sum((f"text {n}" == flagged) == (n == 3) for n in range(4))
    found = client.get(f"/api/v1/onboarding/screenings/{number}", headers=admin)
    body = found.json()
    assert body["counts"]["order"] == {"alike": alike, "compared": compared, "tied": 0} and compared == 12
    assert body["counts"]["sensitive"] == {"alike": right, "compared": 8}
    assert sum(one["pairs_alike"] for one in body["compared"]) == alike and len(body["compared"]) == 2
    assert sum(one["completions_alike"] for one in body["compared"]) == right
    assert body["demonstration_score"] == {"measured": pytest.approx((6.5 + 5) / 2), "cutoff": 6.0, "met": False}
    assert body["order_agreement"]["met"] is (alike / compared >= 0.75)
    assert body["labeler"] is None and "ana" not in found.text.lower() and ana.public_id not in found.text

    # The list says of how many each share is.
    people.sign_in(client, people.admin("otto"))
    listed = client.get("/admin/onboarding").text
    assert f"{alike} / {compared}<" in listed and f"{right} / 8<" in listed and "2 of 2 rated" in listed
    client.cookies.clear()

    decided = client.post(
        f"/api/v1/onboarding/screenings/{number}/decide", json={"verdict": "held-out", "reason": "so"}, headers=admin
    )
    assert decided.status_code == 200 and decided.json()["labeler"] == ana.public_id
    after = client.get(f"/api/v1/accounts/{ana.public_id}", headers=admin).json()
    assert (after["pool"], after["paused"]) == ("held-out", False)
    again = client.post(f"/api/v1/onboarding/screenings/{number}/decide", json={"verdict": "train"}, headers=admin)
    assert again.status_code == 409
    assert client.get("/api/v1/onboarding/coverage", headers=admin).json() == {"religion": {"yes": 1}, "age": {"no": 1}}
    # What was measured at the verdict stays, whatever is changed afterwards.
    for one in client.get("/api/v1/onboarding/exercises", headers=admin).json()["items"]:
        if one["completions"]:
            turned = [{"tier": 5 - c["tier"], "flags": c["flags"]} for c in one["completions"]]
            client.patch(f"/api/v1/onboarding/exercises/{one['id']}", json={"references": turned}, headers=admin)
    stored = client.get(f"/api/v1/onboarding/screenings/{number}", headers=admin).json()
    assert stored["counts"] == body["counts"]


def hand_in_again_is_refused(client, me) -> bool:
    again = client.post("/api/v1/onboarding/hand-in", headers=me)
    said = client.put("/api/v1/onboarding/self-assessment", json={"note": "more"}, headers=me)
    more = client.post("/api/v1/onboarding/next", json={"part": "screening"}, headers=me)
    return [again.status_code, said.status_code, more.status_code] == [409, 409, 204 if not more.content else 409]


def screened(people, username: str) -> tuple[Account, int]:
    """Somebody who was invited, whose only exercise was then retired, and who has submitted the screening."""
    labeler = people.labeler(username)
    with transaction() as session:
        only = ExerciseIn(part=RoundPurpose.SCREENING, prompt=f"Console {username}.")
        written = onboarding_exercises.write(session, only, None)
        number = screening.invite(session, username, None).number
        onboarding_exercises.change(session, written, None, retired=True)
        screening.assess(session, labeler, {}, "Everything.")
        screening.hand_in(session, labeler)
    return labeler, number


def at_once(acts):
    """Run them at the same moment; what each raised or returned."""
    together, results = threading.Barrier(len(acts)), [None] * len(acts)

    def run(place, act):
        together.wait()
        try:
            results[place] = act()
        except Exception as error:
            results[place] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_admins_who_decide_at_once_the_first_is_obeyed(database, people):
    admins = [people.admin(f"admin{number}") for number in range(4)]
    ana, number = screened(people, "ana")
    verdicts = [Verdict.TRAIN, Verdict.HELD_OUT, Verdict.DECLINED, Verdict.HELD_OUT]

    def decide(verdict, by):
        with transaction() as session:
            return screening.decide(session, number, verdict, by)

    results = at_once([lambda v=verdict, a=by: decide(v, a) for verdict, by in zip(verdicts, admins, strict=True)])
    won = [one for one in results if isinstance(one, Screening)]
    assert len(won) == 1 and all(isinstance(one, Conflict) for one in results if one is not won[0])
    with reading() as session:
        account, stored = session.get_one(Account, ana.id), session.get_one(Screening, ana.id)
    assert stored.verdict is won[0].verdict
    assert account.paused is (stored.verdict is Verdict.DECLINED)
    assert stored.verdict is Verdict.DECLINED or account.pool == Pool(stored.verdict)


def test_invitations_and_ratings_at_once_count_once(client, people, admin):
    exercises(client, admin)
    ana, rita = people.labeler(), people.admin("rita")
    read_guideline(ana)

    def invite():
        with transaction() as session:
            return screening.invite(session, "ana", None).number

    results = at_once([invite] * 4)
    assert sum(isinstance(one, int) for one in results) == 1
    work_through(client, people.bearer(ana))
    hand_in(client, people.bearer(ana))
    with reading() as session:
        written = queries.to_review(session, rita)[0][0].public_id

    def rate():
        with transaction() as session:
            return screening.review(session, written, rita, 6)

    results = at_once([rate] * 4)
    assert sum(not isinstance(one, Exception) for one in results) == 1, results


def test_a_declined_labeler_gets_no_work_and_an_invitation_can_be_called_off(client, people, admin):
    _ana, number = screened(people, "ana")
    decided = client.post(f"/api/v1/onboarding/screenings/{number}/decide", json={"verdict": "declined"}, headers=admin)
    assert decided.json()["verdict"] == "declined"
    ben = people.labeler("ben")
    off = {"json": {"username": "ben"}, "headers": admin}
    assert client.post("/api/v1/onboarding/screenings/call-off", **off).status_code == 404
    exercises(client, admin)
    assert client.post("/api/v1/onboarding/screenings", **off).status_code == 204
    assert client.post("/api/v1/onboarding/screenings/call-off", **off).status_code == 204
    after = client.get(f"/api/v1/accounts/{ben.public_id}", headers=admin).json()
    assert after["paused"] is False
    off["json"]["username"] = "ana"
    assert client.post("/api/v1/onboarding/screenings/call-off", **off).status_code == 404  # decided


def test_answers_of_a_screening_are_not_listed_with_names(client, people, admin):
    exercises(client, admin)
    ana = people.labeler()
    read_guideline(ana)
    client.post("/api/v1/onboarding/screenings", json={"username": "ana"}, headers=admin)
    work_through(client, people.bearer(ana))
    for path in ("/api/v1/demonstrations", "/api/v1/comparisons"):
        assert client.get(path, headers=admin).json()["items"] == []
        assert client.get(path, params={"labeler": "ana"}, headers=admin).json()["items"] == []
    olga = people.admin("otto")
    people.sign_in(client, olga)
    for path in ("/admin/demonstrations", "/admin/comparisons"):
        assert ana.name not in client.get(path).text
    with reading() as session:
        assert session.query(Demonstration).count() == 2


def test_the_pages_of_a_screening(client, people):
    olga, ana = people.admin(), people.labeler()
    people.sign_in(client, olga)
    fields = people.csrf(client)
    form = {**fields, "part": "screening", "prompt": "Console somebody who lost a parent.", "sensitive": "yes"}
    assert client.post("/admin/onboarding/exercises/new", data=form).status_code == 303
    wrong = client.post("/admin/onboarding/invite", data={**fields, "username": "nobody"})
    assert wrong.status_code == 422 and "no labeler" in wrong.text
    assert client.post("/admin/onboarding/invite", data={**fields, "username": "ana"}).status_code == 303
    read_guideline(ana)

    people.sign_in(client, ana)
    mine = people.csrf(client)
    assert "Your onboarding" in client.get("/").text
    assert client.get("/reviews").status_code == 404
    work = client.post("/onboarding/next", data={**mine, "part": "screening"}).headers["location"]
    assert "Before you read on" in client.get(work).text
    sent = client.post(
        f"{work}/submit", data={**mine, "version": "0", "labeler": ana.public_id, "text": "I am so sorry."}
    )
    assert client.get(sent.headers["location"]).headers["location"] == "/onboarding"
    early = client.post("/onboarding/self-assessment", data={**mine, "do": "hand_in"})
    assert early.status_code == 422 and "which sensitive speech" in early.text
    done = client.post(
        "/onboarding/self-assessment",
        data={**mine, "comfort.religion": "partly", "note": "Tagalog", "do": "hand_in"},
    )
    assert done.status_code == 303
    page = client.get("/onboarding").text
    assert ">submitted<" in page and "About you" not in page

    people.sign_in(client, olga)
    fields = people.csrf(client)
    warning = client.get("/reviews").text
    assert "marked as sensitive" in warning and "so sorry" not in warning and "Console" not in warning
    review = client.get(re.search(r"/reviews\?show=\w+", warning)[0]).text
    assert "I am so sorry." in review and "Ana" not in review
    id = review.split('action="/reviews/')[1][:16]
    assert client.post(f"/reviews/{id}", data={**fields}).status_code == 422
    assert client.post(f"/reviews/{id}", data={**fields, "rating": "7", "note": "warm"}).status_code == 303
    listed = client.get("/admin/onboarding").text
    with reading() as session:
        number = session.query(Screening).one().number
    assert str(number) in listed and "Ana" not in listed
    path = f"/admin/onboarding/screenings/{number}"
    shown = client.get(path).text
    assert "Tagalog" in shown and "warm" in shown and "Ana" not in shown and "7 of 7" in shown
    assert client.post(f"{path}/decide", data={**fields, "verdict": "perhaps"}).status_code == 422
    assert client.post(f"{path}/decide", data={**fields, "verdict": "train", "reason": "kind"}).status_code == 303
    assert "Ana" in client.get(path).text and "kind" in client.get(path).text
    people.sign_in(client, ana)
    assert "Welcome! Your screening is done" in client.get("/onboarding").text


def test_simulated_labelers_can_be_screened_like_any_other(client, people, admin):
    """A test of the whole machine may use them; nothing depends on the kind of an account."""
    exercises(client, admin)
    bot = people.labeler("bot", kind=AccountKind.SIMULATED)
    read_guideline(bot)
    client.post("/api/v1/onboarding/screenings", json={"username": "bot"}, headers=admin)
    me = people.bearer(bot)
    work_through(client, me)
    hand_in(client, me)
    (one,) = client.get("/api/v1/onboarding/screenings", headers=admin).json()["items"]
    assert one["counts"]["skipped"] == 0
    assert one["order_agreement"]["measured"] == one["sensitive_agreement"]["measured"] == 1.0
    assert not one["recommended"]  # nobody has rated the demonstrations


# --- A screening without exercises ---

INVITE = "/api/v1/onboarding/screenings"


def console(client, admin, **changes) -> str:
    """A screening exercise; its id."""
    one = {"part": "screening", "prompt": "Console somebody.", **changes}
    made = client.post("/api/v1/onboarding/exercises", json=one, headers=admin)
    assert made.status_code == 201, made.text
    return made.json()["id"]


def paused(client, admin, account) -> bool:
    return client.get(f"/api/v1/accounts/{account.public_id}", headers=admin).json()["paused"]


def test_nobody_is_invited_to_a_screening_without_exercises(client, people, admin):
    ana = people.labeler()
    console(client, admin, part="practice", **PRACTICE)  # practice is none of it
    retired = console(client, admin)
    client.patch(f"/api/v1/onboarding/exercises/{retired}", json={"retired": True}, headers=admin)
    refused = client.post(INVITE, json={"username": "ana"}, headers=admin)
    assert (refused.status_code, refused.json()["field"]) == (422, "username")
    assert "no exercises yet" in refused.json()["detail"] and not paused(client, admin, ana)
    client.patch(f"/api/v1/onboarding/exercises/{retired}", json={"retired": False}, headers=admin)
    assert client.post(INVITE, json={"username": "ana"}, headers=admin).status_code == 204


def test_nor_to_one_whose_every_exercise_they_opted_out_of(client, people, admin):
    ana = people.labeler()
    client.patch(f"/api/v1/accounts/{ana.public_id}", json={"avoids_sensitive": True}, headers=admin)
    console(client, admin, sensitive=True)
    refused = client.post(INVITE, json={"username": "ana"}, headers=admin)
    assert refused.status_code == 422 and "opted out of sensitive prompts" in refused.json()["detail"]
    assert not paused(client, admin, ana)
    console(client, admin, prompt="Thank somebody.")
    assert client.post(INVITE, json={"username": "ana"}, headers=admin).status_code == 204


def test_the_page_refuses_it_and_says_what_to_do(client, people, admin):
    people.labeler()
    people.sign_in(client, people.admin("otto"))
    page = client.get("/admin/onboarding").text
    assert "the screening has no exercises" in page and "exercises/new?part=screening" in page
    fields = people.csrf(client) | {"username": "ana"}
    refused = client.post("/admin/onboarding/invite", data=fields)
    assert refused.status_code == 422 and "Write one or restore a retired one" in refused.text
    console(client, admin)
    assert "the screening has no exercises" not in client.get("/admin/onboarding").text
    assert client.post("/admin/onboarding/invite", data=fields).status_code == 303


def test_who_was_invited_before_the_last_exercise_went_ends_the_screening(client, people, admin):
    ana = people.labeler()
    me = people.bearer(ana)
    only = console(client, admin)
    assert client.post(INVITE, json={"username": "ana"}, headers=admin).status_code == 204
    client.patch(f"/api/v1/onboarding/exercises/{only}", json={"retired": True}, headers=admin)
    people.sign_in(client, ana)
    assert "There are no exercises left" in client.get("/").text
    page = client.get("/onboarding").text
    assert "There are no exercises at the moment" in page and "0 of 0" not in page
    hand_in(client, me)
    decided = client.get(INVITE, headers=admin).json()["items"][0]["number"]
    verdict = client.post(f"{INVITE}/{decided}/decide", json={"verdict": "train"}, headers=admin)
    assert verdict.status_code == 200 and not paused(client, admin, ana)


def test_what_was_done_before_it_was_retired_still_counts_as_done(client, people, admin):
    ana = people.labeler()
    me = people.bearer(ana)
    read_guideline(ana)
    first, _second = console(client, admin), console(client, admin, prompt="Thank somebody.")
    client.post(INVITE, json={"username": "ana"}, headers=admin)
    begun = client.post("/api/v1/onboarding/next", json={"part": "screening"}, headers=me).json()["assignment"]
    assert client.post(f"/api/v1/assignments/{begun}/submit", json={"text": "There."}, headers=me).status_code == 200
    client.patch(f"/api/v1/onboarding/exercises/{first}", json={"retired": True}, headers=admin)
    assert client.get("/api/v1/onboarding", headers=me).json()["screening"] == {"done": 1, "all": 2}
