"""That "all" is always a choice which is ticked, and that nothing ticked never means everything."""

import re

import pytest

from app.config import ROOT
from tests.loop import fill_round, prompts


@pytest.fixture
def olga(client, people):
    fill_round(prompts(6))
    people.sign_in(client, people.admin())
    return client


FORMS = {  # what a form needs beside its choices
    "/admin/snapshots/new": [{"purpose": "rm"}, {"purpose": "sft"}, {"purpose": "ppo"}],
    "/admin/rounds/new": [
        {"name": "x", "ask_comparisons": "yes", "pools": "train"},
        {"name": "x", "ask_demonstrations": "yes", "pools": "train"},
        {"name": "x", "ask_conversations": "yes", "pools": "train"},
    ],
}


@pytest.mark.parametrize("path", FORMS)
def test_nothing_chosen_is_refused_and_so_is_all_beside_some(olga, people, path):
    page = olga.get(path).text
    lists = re.findall(r"<fieldset[^>]*data-some-or-all>.*?</fieldset>", page, re.S)
    names = [re.search(r'name="all" value="(\w+)"', one).group(1) for one in lists]
    assert len(names) == page.count('<input type="checkbox" name="all"') == page.count("data-some-or-all") > 2
    names += re.findall(r'<input type="hidden" name="all" value="(\w+)"', page)  # there is nothing else to choose
    refused, unchosen = set(), set()
    for fields in FORMS[path]:
        good = people.csrf(olga) | fields | {"all": names}
        for name, drawn in zip(names, lists, strict=False):
            some = re.search(r'name="((?!all")[\w:]+)"(?: type="\w+")?(?: value="([^"]*)")?', drawn)
            if some is None:
                unchosen.add(name)
                continue
            neither = olga.post(path, data=good | {"all": [one for one in names if one != name]})
            both = olga.post(path, data=good | {some.group(1): some.group(2) or "1"})
            assert neither.status_code == both.status_code, name
            if neither.status_code == 422:
                assert "nothing is chosen" in neither.text and "some or all, not both" in both.text, name
                refused.add(name)
        assert olga.post(path, data=good).status_code == 303
    assert refused == set(names[: len(lists)]) - unchosen, "each list is asked for by one of the forms"


def test_no_hint_says_that_nothing_means_everything():
    said = re.compile(r"(none|nothing) (is )?(ticked|chosen)|empty: (all|every|any)", re.I)
    found = [
        f"{path.relative_to(ROOT)}: {hit.group()}"
        for path in (ROOT / "templates").rglob("*.html")
        if (hit := said.search(path.read_text()))
    ]
    assert not found
