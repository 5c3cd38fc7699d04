"""Which characters cannot be seen, against the database of Unicode; and the first words of a text."""

import sys
import unicodedata

import pytest

from app.web.templates import environment
from app.web.unseen import excerpt, visible

# The categories say nothing of these: fillers, blanks that are drawn as nothing, selectors of variants.
BESIDE = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0}
BESIDE |= {0x1D159, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
BLANKS = {0x09, 0x0A, 0x0D}
# Signs of Arabic, Syriac and Kaithi numbers and Egyptian quadrats, which are drawn though they are formats.
DRAWN = {*range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD}


def test_every_control_and_format_is_marked_and_nothing_that_is_drawn():
    for code in range(sys.maxunicode + 1):
        sign = chr(code)
        unseen = unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") and code not in BLANKS | DRAWN
        if unicodedata.category(sign) == "Cn":
            continue  # not assigned: drawn as a box
        assert (sign not in visible(f"a{sign}a")) is (unseen or code in BESIDE), hex(code)


@pytest.mark.parametrize(
    "text",
    ["👩‍👧 👨🏽‍🚀 ❤️‍🔥 ☎️ 1️⃣ #️⃣ 🏳️‍🌈", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "🏴󠁧󠁢󠁥󠁮󠁧󠁿🏴󠁧󠁢󠁷󠁬󠁳󠁿", "☎︎ ©️ ‼️ ↔︎ 🌍︎", "می‌خواهم", "क्‍ष", "葛󠄀城", "a\tb\r\nc d\xa0e　f"],
)
def test_what_does_its_work_stays(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u200db", "a⟨U+200D⟩b"),
        ("❤\ufe0f\ufe0f", "❤\ufe0f⟨U+FE0F⟩"),
        ("می\u200c\u200c", "می\u200c⟨U+200C⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("x\U000e0041", "x⟨U+E0041⟩"),
        (
            "\U0001f3f4" + "".join(chr(0xE0000 + ord(c)) for c in "hides") + "\U000e007f",
            "\U0001f3f4" + "".join(f"⟨U+E00{ord(c):02X}⟩" for c in "hides") + "⟨U+E007F⟩",
        ),
        ("→\ufe0f −\ufe00 漢\ufe00 a\ufe0e ‰\ufe0f", "→⟨U+FE0F⟩ −⟨U+FE00⟩ 漢⟨U+FE00⟩ a⟨U+FE0E⟩ ‰⟨U+FE0F⟩"),
        ("☎\ufe01 👍\ufe0d a\U000e0100", "☎⟨U+FE01⟩ 👍⟨U+FE0D⟩ a⟨U+E0100⟩"),
        ("\U0001d159", "⟨U+1D159⟩"),
        ("pay \u202e001\u202c", "pay ⟨U+202E⟩001⟨U+202C⟩"),
    ],
)
def test_what_hides_is_marked(text, shown):
    assert visible(text) == shown


def test_first_words_are_on_one_line_and_hide_nothing():
    assert excerpt("\n\n  a\n b\u202ec", 40) == "a b⟨U+202E⟩c"
    assert excerpt("word " * 50, 12) == "word word w…" and excerpt("x" * 12, 12) == "x" * 12
    assert excerpt("ab cd", 4) == "ab…"
    shown = environment().from_string("{{ text | excerpt(20) }} {{ text | as_written }}").render(text="<b>\u202e\n")
    assert shown == '&lt;b&gt;⟨U+202E⟩ &lt;b&gt;<span class="unseen">⟨U+202E⟩</span>\n'
