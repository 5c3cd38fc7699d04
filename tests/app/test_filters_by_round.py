"""That a filter by round is never ignored."""

import pytest

from app.kit.cursors import round_number


@pytest.mark.parametrize("path", ["comparisons", "demonstrations", "conversations"])
def test_what_names_no_round_is_refused_with_what_was_typed(client, people, path):
    people.sign_in(client, people.admin())
    for given in ("abc", "-1", "1.5", "9" * 10, "²"):
        refused = client.get(f"/admin/{path}", params={"round": given})
        assert refused.status_code == 422 and given in refused.text and "or leave it empty for all" in refused.text
    assert client.get(f"/admin/{path}", params={"round": " 7 "}).status_code == 200
    assert round_number("") is None and round_number("07") == 7
