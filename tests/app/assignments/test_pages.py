"""The desk as a browser without scripts uses it: forms, posts and redirects."""

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from sqlalchemy import func, select, update

from app.accounts.tables import SignInSession
from app.assignments.tables import Assignment, Draft, Skip
from app.comparisons.tables import ComparedCompletion, Comparison
from app.completions.tables import Completion
from app.database import reading, transaction
from app.demonstrations.tables import Demonstration
from app.policies.tables import Policy
from app.rounds.tables import ItemKind
from tests.app.assignments.test_api import close
from tests.conftest import fresh_database
from tests.desk import SECRET_POLICY, make_round


@pytest.fixture(params=["sqlite"])
def database(request, tmp_path, monkeypatch):
    """Pages are looked at on SQLite only; that both databases answer alike is shown below the pages."""
    yield from fresh_database(request, tmp_path, monkeypatch)


class Fields(HTMLParser):
    """The fields of the form `work`, as a browser would send them."""

    def __init__(self, html: str):
        super().__init__()
        self.fields: dict[str, str] = {}
        self.area = None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "textarea":
            self.area, self.fields[given["name"]] = given["name"], ""
        box = given.get("type") in ("checkbox", "radio")
        if tag == "input" and "name" in given and (not box or "checked" in given):
            self.fields[given["name"]] = given.get("value", "on")

    def handle_data(self, data):
        if self.area:
            self.fields[self.area] += data.removeprefix("\n")

    def handle_endtag(self, tag):
        if tag == "textarea":
            self.area = None


class Browser:
    """A person with a browser that runs no scripts."""

    def __init__(self, client, people, account):
        self.client, self.people, self.account = client, people, account
        people.sign_in(client, account)

    def follow(self, reply):
        while reply.status_code == 303:
            reply = self.client.get(reply.headers["location"])
        self.reply, self.url = reply, reply.url.path
        self.html = reply.text
        return self

    def open(self, url):
        return self.follow(self.client.get(url))

    def next(self):
        return self.follow(self.client.post("/assignments/next", data=self.people.csrf(self.client)))

    def press(self, act="draft", headers=None, **changes):
        fields = {**Fields(self.html).fields, **changes}
        url = re.search(r'action="(/assignments/\w+)/draft"', self.html)[1]
        sent = {name: value for name, value in fields.items() if value is not None}
        self.raw = self.client.post(f"{url}/{act}", data=sent, headers=headers or {})
        return self.follow(self.raw)


@pytest.fixture
def ana(client, people):
    return Browser(client, people, people.labeler("ana"))


def one(rows):
    with reading() as session:
        return session.scalars(select(rows)).one()


def test_an_empty_desk_and_a_waiting_one(ana):
    assert "Nothing is waiting" in ana.open("/").html
    make_round(2)
    assert "2 pieces of work are waiting" in ana.open("/").html
    ana.next()
    assert "Go on working" in ana.open("/").html and "prompt 0" in ana.html


def test_the_desk_asks_to_sign_in(client, database):
    for url in ("/", "/assignments/0123456789abcdef"):
        assert client.get(url).headers["location"].startswith("/sign-in?next=")


def test_a_comparison_from_the_first_page_to_the_row(ana):
    make_round(1, k=3)
    ana.next()
    assert "Rate completion A" in ana.html
    texts = []
    for letter, rating, flags in (("A", 6, {}), ("B", 2, {"flag.fails_task": "yes"})):
        texts.append(re.search(r"completion \d for prompt 0 of round 1", ana.html)[0])
        assert f"Rate completion {letter}" in ana.html
        ana.press(do="go_on", rating=rating, **flags)
    assert "Rate completion C" in ana.html
    ana.press(do="at:ranking", **{"flag.violent_content": "yes"})
    assert "Rank the completions" in ana.html and "Not gone on from: C" in ana.html
    ana.press("submit", **{"tier.A": 1, "tier.B": 3})
    assert ana.reply.status_code == 422 and "Not ranked yet: C" in ana.html
    assert Fields(ana.html).fields["tier.B"] == "3", "what was filled in is still there"
    ana.press("submit", **{"tier.C": 1}, notes="two tie")
    assert ana.url == "/" and "Handed in." in ana.html
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
    assert "Rate completion A" in ana.html and "Rate it from 1 to 7" in ana.html
    ana.press(do="at:B", rating=3)
    assert "Rate completion B" in ana.html
    draft = one(Draft).content["completions"]["A"]
    assert draft == {"rating": 3, "flags": {}, "gone_on": False, "tier": None}


def test_a_flag_can_be_taken_back_after_going_on(ana):
    make_round(1, k=2)
    ana.next()
    ana.press(do="go_on", rating=3, **{"flag.fails_task": "yes"})
    ana.press(do="at:A")
    assert "what is not ticked is answered no" in ana.html
    ana.press(do="save", **{"flag.fails_task": None})
    assert one(Draft).content["completions"]["A"] == {"rating": 3, "flags": {}, "gone_on": True, "tier": None}


def test_a_demonstration_is_kept_handed_in_and_shown_again(ana):
    make_round(2, kind=ItemKind.DEMONSTRATION)
    ana.next()
    url = ana.url
    ana.press(do="save", text="A <b>first</b>\r\nline & more")
    assert "Saved" in ana.html
    assert Fields(ana.html).fields["text"] == "A <b>first</b>\nline & more"
    ana.press("submit", text="  ")
    assert ana.reply.status_code == 422 and "Nothing is written yet" in ana.html
    ana.press("submit", text="done", do=None)
    assert ana.url not in ("/", url) and "Handed in." in ana.html and "Write a completion" in ana.html
    assert "done" in ana.open(url).html and "You handed this in" in ana.html
    assert one(Demonstration).completion_id is not None


def test_a_double_click_on_hand_in_is_one_row_and_no_error(ana):
    make_round(2, kind=ItemKind.DEMONSTRATION)
    ana.next()
    page = ana.html
    for _ in range(2):
        ana.html = page
        ana.press("submit", text="once", do="stop")
        assert ana.url == "/" and "Handed in." in ana.html
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Demonstration)) == 1


def test_a_double_click_on_a_step_is_no_conflict(ana):
    make_round(1, k=2)
    ana.next()
    page = ana.html
    for _ in range(2):
        ana.html = page
        ana.press(do="go_on", rating=5)
        assert ana.reply.status_code == 200 and "Rate completion B" in ana.html


@pytest.mark.parametrize("act", ["draft", "submit"])
def test_two_tabs_see_both_texts_and_choose(ana, act):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    tab = ana.html
    ana.press(do="save", text="from the first tab")
    ana.html = tab
    ana.press(act, text="from the second tab")
    assert ana.reply.status_code == 409
    assert "from the first tab" in ana.html and "from the second tab" in ana.html
    assert one(Draft).content == {"text": "from the first tab"}
    form = Fields(ana.html.split('aria-labelledby="yours"')[1]).fields
    url = re.search(rf'action="(/assignments/\w+/{act})"', ana.html)[1]
    ana.follow(ana.client.post(url, data=form))
    assert one(Draft).content == {"text": "from the second tab"}


def test_another_answer_after_handing_in_shows_both(ana):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    tab = ana.html
    ana.press("submit", text="the first")
    ana.html = tab
    ana.press("submit", text="the second", key="another page load")
    assert ana.reply.status_code == 409 and "the first" in ana.html and "the second" in ana.html
    ana.html = tab
    ana.press(text="the third")
    assert ana.reply.status_code == 409 and "the third" in ana.html


def test_words_changed_after_handing_in_are_not_swallowed_by_the_pages_key(ana):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    tab = ana.next().html
    ana.press("submit", text="first words")
    ana.html = tab  # the browser's Back: the same page with the same key
    ana.press("submit", text="better words")
    assert ana.reply.status_code == 409 and "first words" in ana.html and "better words" in ana.html
    ana.html = tab
    ana.press("submit", text="first words")
    assert ana.reply.status_code == 200 and one(Demonstration).completion_id


def test_skipping_asks_why_keeps_the_text_and_goes_on(ana):
    make_round(2, kind=ItemKind.DEMONSTRATION)
    ana.next()
    first = ana.url
    ana.press("skip", text="half a thought", reason=None)
    assert ana.reply.status_code == 422 and "half a thought" in ana.html
    ana.press("skip", text="half a thought", reason="harmful", note="no")
    assert ana.url not in ("/", first) and "Skipped" in ana.html
    assert (one(Skip).reason, one(Skip).note) == ("harmful", "no")
    with reading() as session:
        assert session.scalar(select(Draft.content).where(Draft.item_id == one(Skip).item_id)) == {
            "text": "half a thought"
        }


@pytest.mark.parametrize("act", ["draft", "submit", "skip"])
def test_an_expired_session_keeps_the_text_and_asks_to_sign_in(ana, act):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    url = ana.url
    with transaction() as session:
        session.execute(update(SignInSession).values(expires_at=datetime.now(UTC) - timedelta(minutes=1)))
    ana.press(act, text="written all afternoon", reason="other")
    assert ana.url == "/sign-in" and "kept as a draft" in ana.html
    assert one(Draft).content == {"text": "written all afternoon"}
    with reading() as session:
        assert not session.scalars(select(Demonstration)).all() and not session.scalars(select(Skip)).all()
    assert ana.client.get(url).status_code == 303, "an expired session reads nothing"
    ana.people.sign_in(ana.client, ana.account)
    assert "written all afternoon" in ana.open(url).html


def test_an_expired_session_overwrites_nothing(ana):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    tab = ana.html
    ana.press(text="from the first tab")
    with transaction() as session:
        session.execute(update(SignInSession).values(expires_at=datetime.now(UTC) - timedelta(minutes=1)))
    ana.html = tab
    ana.press(text="from the second tab")
    assert one(Draft).content == {"text": "from the first tab\n\nfrom the second tab"}


def test_an_expired_session_of_somebody_else_keeps_nothing(ana):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    ana.people.sign_in(ana.client, ana.people.labeler("ben"))
    with transaction() as session:
        session.execute(update(SignInSession).values(expires_at=datetime.now(UTC) - timedelta(minutes=1)))
    ana.press(text="not mine", csrf_token=ana.people.csrf(ana.client)["csrf_token"])
    assert ana.reply.status_code == 403 and one(Draft).content == {}


@pytest.mark.parametrize("act", ["draft", "submit", "skip"])
def test_a_page_left_open_in_a_shared_browser_never_reaches_the_next_persons_draft(ana, act):
    make_round(1, kind=ItemKind.DEMONSTRATION, overlap=2)
    tab = ana.next().html
    ben = Browser(ana.client, ana.people, ana.people.labeler("ben"))
    url = ben.next().url
    ben.press(text="by ben")
    headers = {"Sec-Fetch-Site": "same-origin"}
    sent = Fields(tab).fields | {"text": "by <ana>", "reason": "other"}
    refused = ana.client.post(f"{url}/{act}", data=sent, headers=headers)
    assert refused.status_code == 403 and "Sign in as the person who wrote this" in refused.text
    assert "by &lt;ana&gt;" in refused.text, "the words are not lost"
    told = ana.client.post(f"{url}/draft", data=sent, headers=headers | {"Accept": "application/json"})
    assert told.status_code == 403 and "Sign in as the person" in told.json()["detail"]
    with reading() as session:
        assert session.scalar(select(Draft.content).where(Draft.labeler_id == ben.account.id)) == {"text": "by ben"}
        assert not session.scalars(select(Demonstration)).all() and not session.scalars(select(Skip)).all()


def test_a_page_from_before_signing_in_again_keeps_the_text_and_does_no_more(ana):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    url, tab = ana.url, ana.html
    ana.people.sign_in(ana.client, ana.account)
    refused = ana.client.post(f"{url}/submit", data=Fields(tab).fields | {"text": "old page"})
    assert refused.status_code == 403 and one(Draft).content == {}, "no browser vouches for it"
    ana.press("submit", headers={"Sec-Fetch-Site": "same-origin"}, text="old page")
    assert ana.url == url and "You signed in again" in ana.html and "old page" in ana.html
    with reading() as session:
        assert not session.scalars(select(Demonstration)).all()
    other_site = ana.client.post(f"{url}/submit", data={"text": "evil"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert other_site.status_code == 403 and one(Draft).content == {"text": "old page"}
    headers = {"Sec-Fetch-Site": "same-origin"}
    assert ana.client.post("/assignments/next", headers=headers).status_code == 403
    assert ana.client.post(f"{url}/resume", headers=headers).status_code == 403


def test_a_script_hears_how_saving_went(ana):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    url, headers = ana.url, {"Accept": "application/json"}
    fields = Fields(ana.html).fields
    told = ana.client.post(f"{url}/draft", data=fields | {"text": "a"}, headers=headers)
    assert told.json()["version"] == 1 and told.json()["lost"] is False
    refused = ana.client.post(f"{url}/draft", data=fields | {"text": "b"}, headers=headers)
    assert refused.status_code == 409 and refused.json()["current"] == {"version": 1, "content": {"text": "a"}}
    beat = ana.client.post(f"{url}/heartbeat", data=fields)
    assert beat.status_code == 204
    with transaction() as session:
        session.execute(update(SignInSession).values(expires_at=datetime.now(UTC) - timedelta(minutes=1)))
    told = ana.client.post(f"{url}/draft", data=fields | {"version": "1", "text": "c"}, headers=headers)
    assert told.status_code == 401 and told.json()["sign_in"].startswith("/sign-in?next=")
    assert one(Draft).content == {"text": "c"}


def test_a_lost_lease_and_a_closed_round_say_so_and_take_the_work(ana):
    round = make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    url = ana.url
    ana.press(do="save", text="mine")
    ben = Browser(type(ana.client)(ana.client.app, base_url="http://127.0.0.1:8000", follow_redirects=False), ana.people, ana.people.labeler("ben"))  # fmt: skip  # noqa: E501
    with transaction() as session:
        session.execute(update(Assignment).values(lease_until=datetime.now(UTC) - timedelta(hours=1)))
    assert ben.next().url == url
    assert "ran out" in ana.open(url).html and "mine" in ana.html
    assert "time ran out" in ana.open("/").html
    ana.follow(ana.client.post(f"{url}/resume", data=ana.people.csrf(ana.client)))
    assert "Somebody else has this item now" in ana.html
    close(round)
    assert "round of this item has closed" in ana.open(url).html
    ana.press("submit")
    assert "extra answer" in ana.html and one(Demonstration).surplus is True


def test_forged_fields_are_refused_and_nobody_sees_anothers_work(ana):
    make_round(1, k=2)
    ana.next()
    ana.press(rating=9)
    assert ana.reply.status_code == 422
    ana.open(f"/assignments/{one(Assignment).public_id}")
    ana.press(do="at:Z", rating=4)
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
            order.append(int(re.search(r"completion (\d) for", ana.html)[1]))
            ana.press(do="go_on", rating=number % 7 + 1)
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
