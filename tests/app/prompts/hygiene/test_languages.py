"""The language of a prompt: known in sentences of many languages, and left open where there is none to know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.prompts.hygiene.languages import language

SENTENCES = {
    "ar": "اكتب قصة قصيرة عن حارس منارة يصادق حوتا.",
    "bn": "একজন বাতিঘর রক্ষককে নিয়ে একটি ছোট গল্প লেখো।",
    "cs": "Napiš krátký příběh o strážci majáku, který se spřátelí s velrybou.",
    "da": "Skriv en kort historie om en fyrpasser, der bliver ven med en hval.",
    "de": "Schreibe eine kurze Geschichte über einen Leuchtturmwärter.",
    "el": "Γράψε μια σύντομη ιστορία για έναν φαροφύλακα.",
    "en": "Write a short story about a lighthouse keeper who befriends a whale.",
    "es": "Escribe un cuento corto sobre un farero que se hace amigo de una ballena.",
    "fa": "یک داستان کوتاه دربارهٔ نگهبان فانوس دریایی بنویس.",
    "fi": "Kirjoita lyhyt tarina majakanvartijasta, joka ystävystyy valaan kanssa.",
    "fr": "Écris une courte histoire sur un gardien de phare.",
    "he": "כתוב סיפור קצר על שומר מגדלור שמתיידד עם לווייתן.",
    "hi": "एक प्रकाशस्तंभ रक्षक के बारे में एक छोटी कहानी लिखो।",
    "hu": "Írj egy rövid történetet egy világítótorony-őrről.",
    "id": "Tulislah cerita pendek tentang penjaga mercusuar yang berteman dengan seekor paus.",
    "it": "Scrivi un breve racconto su un guardiano del faro.",
    "ja": "灯台守についての短い物語を書いてください。",
    "ko": "등대지기에 대한 짧은 이야기를 써 주세요.",
    "nl": "Schrijf een kort verhaal over een vuurtorenwachter.",
    "no": "Skriv en kort fortelling om en fyrvokter som blir venn med en hval.",
    "pl": "Napisz krótkie opowiadanie o latarniku.",
    "pt": "Escreva uma história curta sobre um faroleiro.",
    "ro": "Scrie o povestire scurtă despre un paznic de far.",
    "ru": "Напиши короткий рассказ о смотрителе маяка, который подружился с китом.",
    "sv": "Skriv en kort berättelse om en fyrvaktare.",
    "th": "เขียนเรื่องสั้นเกี่ยวกับคนเฝ้าประภาคาร",
    "tr": "Bir deniz feneri bekçisi hakkında kısa bir hikâye yaz.",
    "uk": "Напиши коротке оповідання про доглядача маяка.",
    "vi": "Viết một truyện ngắn về người gác hải đăng.",
    "zh": "写一个关于灯塔看守人的短篇故事。",
}


@pytest.mark.parametrize(("code", "sentence"), SENTENCES.items(), ids=list(SENTENCES))
def test_a_sentence(code, sentence):
    assert language(sentence) == code


@pytest.mark.parametrize("text", ["Thank you very much", "What is love?", "Who are you"])
def test_a_few_words_are_enough_where_they_are_clear(text):
    assert language(text) == "en"


@pytest.mark.parametrize(
    "text",
    [
        "Question 3?", "vera sells keys. mock vera.", "ida washes keys. say hello to ida.", "ben draws bells.",
        "", "hi", "lol", "TODO", "???", "😀😀😀", "3 + 4 = 7", "C6H12O6 + 6 O2", "12.5 % of 80", "asdf qwer zxcv uiop",
        "https://example.com/the/quick/brown/fox/jumps?over=the&lazy=dog", "someone.with.a.long.name@example.com",
        "def f(x): return x ** 2", "for (int i = 0; i < n; i++) { sum += a[i]; }", "SELECT name FROM users;",
        "```python\nif the_weather_is_nice: go_outside_and_play()\n```", "$\\frac{\\text{the area}}{2} = \\pi r^2$",
        "#include <stdio.h>\nint main(void) {\n  printf(\"hello world\\n\");\n  return 0;\n}",
        "<div class=\"the-main-box\"><span id=\"of-the-page\"></span></div>", "\ud800\udfff" * 20,
    ],
)  # fmt: skip
def test_code_formulas_addresses_and_noise_are_of_none(text):
    assert language(text) == ""


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Was macht dieser Code?\n```python\nfor line in open(path): print(line.strip())\n```", "de"),
        ("Explique cette formule : $\\int_0^1 x^2\\,dx = \\frac{1}{3}$, s'il te plaît.", "fr"),
        ("Riassumi questa pagina: https://example.com/what-is-the-meaning-of-this-page", "it"),
        ('Why does this fail?\ncur.execute("SELECT * FROM t");\nrows = cur.fetchall();', "en"),
        ("WRITE A SHORT STORY ABOUT A LIGHTHOUSE KEEPER.", "en"),
    ],
)
def test_the_words_around_them_count(text, code):
    assert language(text) == code


@given(st.text(max_size=200))
def test_any_text_has_a_code_of_two_letters_or_none(text):
    assert len(language(text)) in (0, 2)
