"""A day's work at the desk, from the first page to the row."""

import re

from sqlalchemy import select

from app.assignments.tables import Assignment, Draft, Skip
from app.comparisons.tables import ComparedCompletion, Comparison
from app.completions.tables import Completion
from app.database import reading
from app.demonstrations.tables import Demonstration
from app.policies.tables import Policy
from app.rounds.tables import ItemKind
from tests.app.desk.pages.plain_browser import Fields, one
from tests.desk import SECRET_POLICY, make_round


def test_an_empty_desk_and_a_waiting_one(ana):
    assert "No tasks to do" in ana.open("/").html
    make_round(2)
    assert "2 tasks to do" in ana.open("/").html
    ana.next()
    assert "Continue" in ana.open("/").html and "prompt 0" in ana.html


def test_the_desk_asks_to_sign_in(client, database):
    for url in ("/", "/assignments/0123456789abcdef"):
        assert client.get(url).headers["location"].startswith("/sign-in?next=")


def test_a_comparison_from_the_first_page_to_the_row(ana):
    make_round(1, k=3)
    ana.next()
    assert "Rate completion A" in ana.html
    texts = []
    for letter, rating, flags in (("A", 6, {}), ("B", 2, {"flag.B.fails_task": "yes"})):
        shown = rf'<section class="completion" data-letter="{letter}".*?(completion \d for prompt 0 of round 1)'
        texts.append(re.search(shown, ana.html, re.DOTALL)[1])
        assert f"Rate completion {letter}" in ana.html
        ana.press(do="go_on", **{f"rating.{letter}": rating}, **flags)
    assert "Rate completion C" in ana.html
    ana.press(do="at:ranking", **{"flag.C.violent_content": "yes"})
    assert "Rank the completions" in ana.html and "Flags not confirmed for C" in ana.html
    ana.press("submit", **{"tier.A": 1, "tier.B": 3})
    assert ana.reply.status_code == 422 and "Not ranked yet: C" in ana.html
    assert Fields(ana.html).fields["tier.B"] == "3", "what was filled in is still there"
    ana.press("submit", **{"tier.C": 1}, notes="two tie")
    assert ana.url == "/" and "Submitted." in ana.html
    with reading() as session:
        stored = session.scalars(select(Comparison)).one()
        a, b, c = stored.completions
        assert [a.completion.text, b.completion.text] == texts
        assert [(row.rating, row.tier) for row in (a, b, c)] == [(6, 1), (2, 2), (None, 1)]
        assert set(a.flags.values()) == {False} and len(a.flags) == 11
        assert b.flags["fails_task"] is True and sum(b.flags.values()) == 1
        assert c.flags == {"violent_content": True} and stored.notes == "two tie"


def test_going_on_needs_a_rating_and_arrows_answer_nothing(ana):
    make_round(1, k=2)
    ana.next()
    ana.press(do="go_on")
    assert "Rate completion A" in ana.html and "Rate the completion from 1 to 7" in ana.html
    ana.press(do="at:B", **{"rating.A": 3})
    assert "Rate completion B" in ana.html
    draft = one(Draft).content["completions"]["A"]
    assert (draft["rating"], draft["flags"], draft["flags_complete"], draft["tier"]) == (3, {}, False, None)


def test_a_flag_can_be_taken_back_after_going_on(ana):
    make_round(1, k=2)
    ana.next()
    ana.press(do="go_on", **{"rating.A": 3, "flag.A.fails_task": "yes"})
    ana.press(do="at:A")
    assert '<span class="hint said" >Unchecked ones count as “no”.</span>' in ana.html
    ana.press(do="save", **{"flag.A.fails_task": None})
    draft = one(Draft).content["completions"]["A"]
    assert (draft["rating"], draft["flags"], draft["flags_complete"], draft["tier"]) == (3, {}, True, None)


def test_a_demonstration_is_kept_handed_in_and_shown_again(ana):
    make_round(2, kind=ItemKind.DEMONSTRATION)
    ana.next()
    url = ana.url
    ana.press(do="save", text="A <b>first</b>\r\nline & more")
    assert "Saved" in ana.html
    assert Fields(ana.html).fields["text"] == "A <b>first</b>\nline & more"
    ana.press("submit", text="  ")
    assert ana.reply.status_code == 422 and "The completion is empty" in ana.html
    ana.press("submit", text="done", do=None)
    assert ana.url not in ("/", url) and "Submitted." in ana.html and "Write a completion" in ana.html
    assert "done" in ana.open(url).html and "You submitted this" in ana.html
    assert one(Demonstration).completion_id is not None


def test_skipping_asks_why_keeps_the_text_and_goes_on(ana):
    make_round(2, kind=ItemKind.DEMONSTRATION)
    ana.next()
    first = ana.url
    ana.press("skip", text="half a thought", reason=None)
    assert ana.reply.status_code == 422 and "half a thought" in ana.html
    assert re.search(r"<details class=\"pass\" open>", ana.html), "where one chooses stays open"
    ana.press("skip", text="half a thought", reason="harmful", note="no")
    assert ana.url not in ("/", first) and "Skipped" in ana.html
    assert (one(Skip).reason, one(Skip).note) == ("harmful", "no")
    with reading() as session:
        kept = session.scalar(select(Draft.content).where(Draft.item_id == one(Skip).item_id))
        assert kept["text"] == "half a thought"


def test_forged_fields_are_refused_and_nobody_sees_anothers_work(ana):
    make_round(1, k=2)
    ana.next()
    ana.press(**{"rating.A": 9})
    assert ana.reply.status_code == 422
    ana.open(f"/assignments/{one(Assignment).public_id}")
    ana.press(do="at:Z", **{"rating.A": 4})
    assert ana.reply.status_code == 200, "an unknown step is the first that is left"
    ana.press(do="at:https://example.org", version="x" * 30)
    assert ana.reply.status_code == 409 or ana.url.startswith("/assignments/")
    url = ana.url
    ana.people.sign_in(ana.client, ana.people.labeler("ben"))
    assert ana.client.get(url).status_code == 404
    for act in ("draft", "submit", "skip", "resume", "heartbeat"):
        fields = ana.people.csrf(ana.client) | {"fence": "1", "reason": "other"}
        assert ana.client.post(f"{url}/{act}", data=fields).status_code == 404


def test_no_page_a_labeler_can_reach_tells_where_a_completion_is_from(ana):
    """Everything served on the way through a day: no policy, no id of a completion, no canonical order."""
    make_round(2, k=9)
    with reading() as session:
        hints = {SECRET_POLICY, *session.scalars(select(Completion.public_id)), *session.scalars(select(Policy.public_id))}  # fmt: skip  # noqa: E501
    served, orders = [], []
    hook = served.append
    ana.client.event_hooks["response"] = [lambda reply: (reply.read(), hook(reply.text + str(reply.headers)))]
    for _ in range(2):
        ana.next()
        order = []
        for number in range(9):
            order.append(int(re.findall(r"completion (\d) for", ana.html)[number]))
            ana.press(do="go_on", **{f"rating.{'ABCDEFGHI'[number]}": number % 7 + 1})
        orders.append(order)
        ana.open(ana.url + "?at=ranking")
        assert [int(place) for place in re.findall(r"completion (\d) for", ana.html)] == order, "the letters stay"
        ana.press(do="save", version="0", **{"tier.A": 1})  # the page that shows both versions
        ana.open(ana.url.removesuffix("/draft") + "?at=ranking")
        url = ana.url
        ana.press("submit", do="stop", **{f"tier.{letter}": 1 for letter in "ABCDEFGHI"})
        ana.open(url)
    assert len(served) > 40
    for text in served:
        assert not [hint for hint in hints if hint in text]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(9)) and orders[0] != orders[1]
    for path in ("/admin/comparisons", "/admin/demonstrations", f"/admin/comparisons/{first_comparison()}"):
        assert ana.client.get(path).status_code == 404
    for path in ("comparisons", "demonstrations", f"comparisons/{first_comparison()}"):
        reply = ana.client.get(f"/api/v1/{path}", headers=ana.people.bearer(ana.account))
        assert reply.status_code == 403 and SECRET_POLICY not in reply.text
    with reading() as session:
        shown = session.execute(
            select(Completion.text)
            .join(ComparedCompletion, ComparedCompletion.completion_id == Completion.id)
            .order_by(ComparedCompletion.comparison_id, ComparedCompletion.shown_position)
        ).scalars()
        assert [int(re.search(r"completion (\d)", text)[1]) for text in shown] == orders[0] + orders[1]


def first_comparison() -> str:
    with reading() as session:
        return session.scalar(select(Comparison.public_id).limit(1))
