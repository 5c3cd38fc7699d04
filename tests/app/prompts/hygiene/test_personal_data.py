"""Personal data is found in what people write and however they type it, and not in what looks like it."""

import csv
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config import ROOT, settings
from app.kit.i18n import set_language
from app.prompts.hygiene import presidio
from app.prompts.hygiene.kinds import PLACEHOLDERS
from app.prompts.hygiene.personal_data import Hit, PersonalData, find, mask, without_overlaps
from tests.benchmarks.personal_data import examples, scores, total

DATA = ROOT.parent / "shared/data"


def found(text: str) -> list[tuple[str, str]]:
    """What is found, as (kind, piece of the text)."""
    return [(hit.kind.value, text[hit.start : hit.end]) for hit in find(text)]


# --- Measured ---


def test_the_labelled_texts_are_many_and_of_every_kind():
    for half in ("develop", "held"):
        labelled = examples(half)
        kinds = Counter(hit.kind for _, hits in labelled for hit in hits)
        assert set(kinds) == set(PersonalData) - {PersonalData.NAME, PersonalData.PLACE}
        assert min(kinds.values()) >= 10 and kinds.total() >= 200
        assert sum(not hits for _, hits in labelled) >= 200, "texts without personal data"


def test_recall_and_precision_on_the_half_that_was_not_looked_at():
    by_kind = scores(examples("held"))
    assert total(by_kind).recall >= 0.95 and total(by_kind).precision >= 0.95
    low = {kind: score for kind, score in by_kind.items() if score.recall < 0.85 or score.precision < 0.85}
    assert not low


def real_prompts() -> Iterator[tuple[str, str]]:
    """(name of a public set, prompt)."""
    for name, path, key in (
        ("ifeval", "ifeval/input_data.jsonl", "prompt"),
        ("mt-bench", "mt-bench/question.jsonl", "turns"),
    ):
        for line in (DATA / path).open():
            prompt = json.loads(line)[key]
            yield name, prompt if isinstance(prompt, str) else "\n".join(prompt)
    with (DATA / "truthfulqa/TruthfulQA.csv").open(encoding="utf-8-sig") as file:
        yield from (("truthfulqa", row["Question"]) for row in csv.DictReader(file))
    for name in ("user_oriented/instructions.jsonl", "seed-tasks/seed_tasks.jsonl"):
        for task in map(json.loads, (DATA / name).open()):
            for instance in task["instances"]:
                yield name.partition("/")[0], f"{task['instruction']}\n{instance['input']}"
    with gzip.open(DATA / "moderation/samples-1680.jsonl.gz", "rt") as file:
        yield from (("moderation", json.loads(line)["prompt"]) for line in file)


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
def test_in_public_sets_what_a_reader_finds_is_found_and_nothing_else():
    counts = Counter((name, kind) for name, prompt in real_prompts() for kind, _ in found(prompt))
    assert counts == {  # all of them were read
        ("ifeval", "phone"): 1,
        ("user_oriented", "email"): 3,
        ("user_oriented", "phone"): 1,
        ("seed-tasks", "phone"): 1,
        ("seed-tasks", "email"): 2,
        ("moderation", "email"): 1,  # spelled out
        ("moderation", "phone"): 1,
        ("moderation", "secret"): 1,  # the token of an address
    }


# --- How it is typed ---


@pytest.mark.parametrize(
    ("text", "kind", "piece"),
    [
        ("ｃａｒｄ ４１１１ １１１１ １１１１ １１１１!", "card", "４１１１ １１１１ １１１１ １１１１"),
        ("card 4111\u200b1111\u200b1111\u200b1111.", "card", "4111\u200b1111\u200b1111\u200b1111"),
        ("IBAN\u00a0BE68\u00a05390\u00a00754\u00a07034", "bank_account", "BE68\u00a05390\u00a00754\u00a07034"),
        ("mail me: mika＠example．jp", "email", "mika＠example．jp"),
        ("mail \u202ame@corp-mail.org\u202c now", "email", "me@corp-mail.org\u202c"),
        ("ring +44\u201120\u20117946\u20110018", "phone", "+44\u201120\u20117946\u20110018"),
        ("رقم هاتفي ٠٢٠ ٧٩٤٦ ٠٠١٨", "phone", "٠٢٠ ٧٩٤٦ ٠٠١٨"),
        ("मोबाइल ९८७६५४३२१०", "phone", "९८७६५४३२१०"),
        ("ssn 2\ufe0f\u20e31\ufe0f\u20e39-09-9997", "national_id", "2\ufe0f\u20e31\ufe0f\u20e39-09-9997"),
        ("请打电话13800138000。", "phone", "13800138000"),
        ("write to ann (at) corp-mail (dot) com", "email", "ann (at) corp-mail (dot) com"),
        ("write to ann[@]corp-mail[.]com", "email", "ann[@]corp-mail[.]com"),
        ("my mail: ann at corp-mail dot com", "email", "ann at corp-mail dot com"),
        ("ANN AT CORP-MAIL DOT COM", "email", "ANN AT CORP-MAIL DOT COM"),
        ("ban 81[.]2[.]69[.]142", "ip_address", "81[.]2[.]69[.]142"),
    ],
)  # fmt: skip
def test_whatever_form_digits_blanks_and_signs_have(text, kind, piece):
    assert found(text) == [(kind, piece)]


@pytest.mark.parametrize(
    "text",
    [
        "10²⁴ and 4111¹¹¹¹1111¹¹¹¹",  # superscripts are no digits
        "loopback 127.0.0.1, private 10.1.2.3 and 192.168.1.1, examples 192.0.2.7 and 2001:db8::1, any 0.0.0.0",
        "upgrade from version 81.2.69.142 to 81.2.69.143, see § 12.40.2.1",
        "fe80::1 ::1 fd00::1 std::vector ab::cd::ef 23:59:59",
        "00:00:00:00:00:00 ff:ff:ff:ff:ff:ff 01:00:5e:00:00:fb",
        "git@github.com:org/repo.git logo@2x.png @app.route x@self.weight https://user:password@example.com",
        "look at the dot on the map, meet me at the dot com conference",
        "password = getpass.getpass(); token = tokens[0]; api_key = os.environ['KEY']; password: str; secret: None",
        "what does -----BEGIN PRIVATE KEY----- mean? -----BEGIN CERTIFICATE-----\nMIIBszCCARygAwIBAgIJAKz0",
        '"password": "must be at least eight characters", "type": "password", password: required, 123 reset',
        "order number 4111 1111 1111 1111, ISBN 978-0-306-40615-7, part no. 123-45-6789, model XJ-900-555-0123",
        "12345 + 212-555-0147 = ?  2019 2020 2021 2022  5000 5100 5200 5300  06 12 34 56 78 9a bc",
    ],
)
def test_what_looks_like_it_and_names_nobody(text):
    assert found(text) == []


@pytest.mark.parametrize(
    "text",
    [
        # numbers grouped by thousands, years and sequences
        "The phone has 12 000 000 pixels", "The phone has 12.345.678 pixels", "WhatsApp has 2 000 000 000 users",
        "WhatsApp has 2000000000 users", "Mobile revenue was 345 678 901 dollars", "Phone sales: 1 234 567 units",
        "Phone sales: 601 234 567", "SMS sent 10 000 000", "We sent 612 345 678 SMS last year",
        "Our call center handled 120 450 000 requests", "Our call center handled 612 450 123 requests",
        "Cell counts: 120 340 560", "Cell counts: 612 345 678", "Signal at 101 202 303 Hz",
        "Signal at 601 234 567 Hz",
        "Phone calls: 612 345 678", "WhatsApp: 345 678 901 users", "mobile: 345 678 901 messages",
        "They reach 612 345 678 people", "Handys kosten 345 678 901 Euro im Jahr",
        "fax modem V.34 33600 28800", "phone sales of 2019 2020 2021", "Tel Aviv 2024 2025",
        "mobile trends 2024 2025",
        "01 02 03 04 05", "06 12 18 24 30", "Continue: 02 04 06 08 10 12", "phone digits 01 02 03 04 05",
        "lottery: 05 12 23 34 45", "02 04 08 16 32", "09 08 07 06 05",
        # codes of places, pins of boards, and keys that are printed as examples
        "PIN code of Mumbai: 400001", "Mumbai PIN code: 400001", "PIN code: 560001", "Pincode - 110001",
        "LED_PIN = 1234", "BUTTON_PIN=4021", "ledPin = 1234", "#define SERVO_PIN: 1234",
        "A\u004bIAIOSFODNN7EXAMPLE", "aws_secret_access_key = w\u004aalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "A\u0053IAXXXXXXXXXXX12345", "g\u0068p_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx12",
        "s\u006b_test_4eC39HqLyjWDarjtT1zdp7dc", "api_key = EXAMPLE1234567890abc",
        "h\u0074tps://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
        # reserved names of hosts, placeholders and versions
        "mail ann@example.com, bob@mail.example.org, tom@EXAMPLE.NET and kim@shop.example", "write to x@y.test",
        "a@b.invalid", "root@localhost.localdomain", "root@app.localhost", "mail ann (at) example (dot) com",
        "email ann at example dot com",
        "ANN AT EXAMPLE DOT COM", "user@domain.tld", "email: name@yourdomain.com", "pkg@1.0.io", "lib@v2.13.1.dev",
    ],
)  # fmt: skip
def test_amounts_places_boards_and_placeholders(text):
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "kind", "piece"),
    [
        ("john dot doe at gmail dot com", "email", "john dot doe at gmail dot com"),
        ("it is mary dot ann dot poe at corp dot co dot uk", "email", "mary dot ann dot poe at corp dot co dot uk"),
        ('send it to "john doe"@gmail.com today', "email", '"john doe"@gmail.com'),
        ("x@shop.example.co.uk", "email", "x@shop.example.co.uk"),  # nobody reserved it
        ("qq 12345@163.com", "email", "12345@163.com"),
        ("Mi teléfono es el 612 345 678", "phone", "612 345 678"),
        ("06 12 34 56 78", "phone", "06 12 34 56 78"),
        ("zadzwoń 601 234 567 wieczorem", "phone", "601 234 567"),
        ("mobile: 612.345.678", "phone", "612.345.678"),
        ("Ana, 601 234 567 (mobile)", "phone", "601 234 567"),
        ("601 234 567 is my mobile", "phone", "601 234 567"),
        ("zadzwoń pod numer 601 234 567", "phone", "601 234 567"),
        ("my PIN code is 4\u003821", "secret", "4\u003821"),
        ("CARD_PIN=4\u003821", "secret", "4\u003821"),
        ("the pin code of my card: 49\u003821", "secret", "49\u003821"),
    ],
)  # fmt: skip
def test_what_is_written_like_those_and_names_somebody(text, kind, piece):
    assert found(text) == [(kind, piece)]


# --- Overlaps and places ---


def test_of_findings_that_overlap_the_longest_is_kept_and_of_two_alike_the_more_specific():
    assert found("postgres://shop:s3cret@db.example.com/x") == [("secret", "postgres://shop:s3cret@db.example.com/x")]
    assert found("IBAN DE89370400440532013000") == [("bank_account", "DE89370400440532013000")]
    assert found("password: ann@corp-mail.org1") == [("secret", "ann@corp-mail.org1")]
    email, phone, card = (Hit(kind, 3, 9) for kind in (PersonalData.EMAIL, PersonalData.PHONE, PersonalData.CARD))
    assert without_overlaps([phone, email, card]) == [card]
    longer = Hit(PersonalData.PHONE, 8, 20)
    assert without_overlaps([email, longer, Hit(PersonalData.EMAIL, 20, 22), Hit(PersonalData.EMAIL, 0, 3)]) == [
        Hit(PersonalData.EMAIL, 0, 3),
        longer,
        Hit(PersonalData.EMAIL, 20, 22),
    ]


TEXTS = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from([hit for half in ("develop", "held") for hit in examples(half)]).map(lambda one: one.text),
        st.text(alphabet="0123456789 -.@:/()+=\"'\u200b\u0661ıİſ½²", max_size=40),
    ),
    max_size=4,
).map(" ".join)


@given(TEXTS, TEXTS)
def test_hits_lie_in_order_within_the_text_and_survive_what_surrounds_them(before, after):
    hits = find(before)
    assert all(0 <= hit.start < hit.end <= len(before) for hit in hits)
    assert all(one.end <= other.start for one, other in pairwise(hits))
    piece = "ann.unlikely@corp-mail.org"
    text = f"{before}\n\n{piece}\n\n{after}"
    start = len(before) + 2
    covering = [hit for hit in find(text) if hit.start <= start and hit.end >= start + len(piece)]
    assert covering, "an address in a paragraph of its own is found whatever the others say"


def test_a_private_key_that_is_cut_off_is_one():
    text = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEA" * 8 + "\n\nWhy is it refused?"
    ((kind, piece),) = found(text)
    assert kind == "secret" and "MIIEowIBAAKCAQEA" * 8 in piece and "refused" not in piece


def test_masking_leaves_no_personal_data_and_everything_else():
    text = "Mail ann@corp-mail.org or ring 020 7946 0018 (password: hunter2)."
    assert mask(text, find(text)) == "Mail [e-mail] or ring [phone number] (password: [secret])."
    assert mask("nothing", []) == "nothing"
    for half in ("develop", "held"):
        for text, _ in examples(half):
            assert find(mask(text, find(text))) == []


# --- Time grows as the text does ---


HOSTILE = [
    "1 ", "0 ", "(1", "a@", "tel 999999999 ", "+44 20 7946 0018 ", "password: ", "eyJaaaaaaaa.eyJ", "1.2.3.4 ",
    "bsn 123456789 ", "a (at) b", "1\u200b", "DE89 3704 0044 0532 0130 00 ", "://a:a@", "-----BEGIN PRIVATE KEY-----",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_twice_the_text_takes_twice_the_steps(unit):
    find("tel 020 7946 0018 1.2.3.4 DE89 3704 0044 0532 0130 00")  # what is loaded once is not counted
    short, long = (steps((unit * length)[:length]) for length in (4_000, 8_000))
    assert long < 2.5 * short


def steps(text: str) -> int:
    """How many functions are called, those written in C too."""
    count = 0

    def called(frame, event, argument) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(called)
    try:
        find(text)
    finally:
        sys.setprofile(None)
    return count


# --- Words and settings ---


def test_every_kind_has_a_name_in_the_readers_language_and_a_placeholder_of_its_own():
    labels = {}
    try:
        for language in ("de", "en"):
            set_language(language)
            labels[language] = [kind.label() for kind in PersonalData]
    finally:
        set_language("en")
    assert all(labels["en"]) and len(set(labels["en"])) == len(set(labels["de"])) == len(PersonalData)
    assert PersonalData.PHONE.label() == "Phone number" and "Telefonnummer" in labels["de"]
    assert set(PLACEHOLDERS) == set(PersonalData) and len(set(PLACEHOLDERS.values())) == len(PersonalData)


@pytest.fixture
def presidio_is_asked_for(monkeypatch):
    monkeypatch.setenv("PLUMBLINE_PERSONAL_DATA", "presidio")
    settings.cache_clear()
    yield
    monkeypatch.undo()
    settings.cache_clear()


def test_presidio_is_refused_where_it_is_not_installed(presidio_is_asked_for, monkeypatch):
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    presidio._analyzer.cache_clear()
    with pytest.raises(presidio.PresidioMissing, match="PLUMBLINE_PERSONAL_DATA"):
        find("Ann Smith")


def test_presidio_adds_what_our_detectors_do_not_look_for(presidio_is_asked_for):
    pytest.importorskip("presidio_analyzer", reason="the extra `pii` is not installed")
    text = "pay 1HB5XMLmzFVj8ALj6mfBsbifRoD4miY36v, ask ann@corp-mail.org"
    assert found(text) == [
        ("bank_account", "1HB5XMLmzFVj8ALj6mfBsbifRoD4miY36v"),
        ("email", "ann@corp-mail.org"),
    ]
