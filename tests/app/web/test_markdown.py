"""Markdown of untrusted text: what it may show, and what no attack gets through."""

import time
from html import unescape
from itertools import pairwise

import pytest

from app.web.markdown import LANGUAGES, MAX_CHARACTERS, MAX_CODE, is_plain, markdown
from app.web.templates import environment
from tests.shown import Strict

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](https://evil.example/pixel.png)",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](java\nscript:alert(1))",
    "[a](data:text/html;base64,PHNjcmlwdD4=)",
    "[a](vbscript:x)",
    "<javascript:alert(1)>",
    '<a href="javascript:alert(1)">a</a>',
    '<div style="position:fixed">x</div>',
    "<svg onload=alert(1)>",
    "<iframe src=//evil.example></iframe>",
    '<form action="//evil.example"><input name=password></form>',
    "$\\text{<script>alert(1)</script>}$",
    "$\\href{javascript:alert(1)}{x}$",
    "$$\\style{color:red}{x}\\unicode{x3c}script$$",
    "```html\n<script>alert(1)</script>\n```",
    '```"onmouseover=alert(1)\nx\n```',
    "<!--><img src=x onerror=alert(1)>-->",
    "[x]: javascript:alert(1)\n\n[x]",
    "<math><mtext><style><img src=x onerror=alert(1)></style></mtext></math>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "| <b onclick=x> | b |\n|---|---|\n| <script>x</script> | y |",
    "\\(\\text{<img src=x onerror=alert(1)>}\\)",
    "\\[<script>alert(1)</script>\\]",
    '[a](https://a.example "onmouseover=alert(1)")',
    "<style>body { background: url(https://evil.example/) }</style>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<base href=https://evil.example/>",
    '<meta http-equiv=refresh content="0; url=https://evil.example/">',
    "[![x](https://evil.example/pixel.png)](https://evil.example)",
    "![x][1]\n\n[1]: https://evil.example/pixel.png",
    "<a href=x style=background:url(//evil.example)>x</a>",
    "<audio src=//evil.example autoplay></audio>",
    "```css\n}</style><script>alert(1)</script>\n```",
    "$\\color{red;background:url(//evil.example)}{x}$",
    "$\\includegraphics{https://evil.example/pixel.png}$",
    "</pre></div></main><script>alert(1)</script>",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_gets_through(attack):
    for text in (attack, f"> - {attack}", f"**{attack}**", f"[{attack}](https://a.example)", f"| {attack} |\n|---|"):
        Strict().feed(markdown(text))


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_gets_through_where_a_text_is_shown_as_it_is_written(attack):
    shown = shown_text(attack)
    written = shown[shown.index("<pre class=") :].split("</pre>")[0] if '<pre class="raw"' in shown else ""
    assert "<" not in written[1:], "only the tag that begins it"
    assert "<script" not in shown and "<img" not in shown


def shown_text(content: str) -> str:
    """What a page shows of a text."""
    return environment().get_template("texts.html").module.text(content)


def test_what_is_meant_is_shown():
    html = markdown("# Title\n\nSome *text* with `code` & a [link](https://a.example), ~~gone~~\n\n1. one\n2. two")
    for part in ("<h2>Title</h2>", "<em>text</em>", "<code>code</code>", "&amp;", "<s>gone</s>", "<li>two</li>"):
        assert part in html
    assert '<a href="https://a.example" target="_blank" rel="noopener noreferrer nofollow">link</a>' in html
    assert "one<br>" in markdown("one\ntwo")  # a policy's line breaks are part of its answer
    assert "<td>1</td>" in markdown("| a |\n|---|\n| 1 |")


def test_code_has_classes_and_no_styles():
    html = markdown("```python\ndef f(x): return 'a'\n```")
    assert '<span class="k">def</span>' in html and "style=" not in html
    assert "<code>x &lt; y" in markdown("```no-such-language\nx < y\n```")


def test_formulas_become_mathml_and_prices_stay():
    assert "<math" in markdown("the $x^2$ term") and "<msup>" in markdown("$$x^2$$")
    assert "<math" not in markdown("it costs $5 and then $6")
    assert "\\frac{" in markdown("$\\frac{$") or "<math" in markdown("$\\frac{$")  # a broken one is shown as written


def test_long_text_is_shown_as_it_is_written():
    html = markdown("*a* <b> " * MAX_CHARACTERS)
    assert html.startswith('<pre class="raw">*a* &lt;b&gt;')


def test_tex_brackets_are_formulas_too():
    html = markdown("so \\(x^2\\) and\n\\[\n\\frac{a}{b}\n\\]\nbut \\(not closed")
    assert html.count("<math") == 2 and "<mfrac>" in html and 'display="block"' in html and "(not closed" in html
    assert "<math" not in markdown("`\\(x\\)`") and "<math" not in markdown("\\(\\)")


def test_headings_take_their_place_in_the_page():
    html = markdown("#### deep\n\n# high\n\n###### far below", 3)
    assert "<h3>deep</h3>" in html and "<h3>high</h3>" in html and "<h4>far below</h4>" in html


def test_tables_scroll_in_themselves_and_keep_their_alignment():
    html = markdown("| a | b |\n|:--|--:|\n| 1 | 2 |")
    assert '<div class="scroll" tabindex="0"><table>' in html and '<td class="right">2</td>' in html


def test_code_is_a_stop_for_the_keyboard_only_where_it_may_scroll():
    assert "<pre><code>" in markdown("```\nshort\n```")
    assert '<pre tabindex="0"><code>' in markdown("```\n" + "long " * 20 + "\n```")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("one\ntwo\n\nthree & <b>", True),
        ("It costs $5, or 2 < 3.", True),
        ("", True),
        ("a *b*", False),
        ("a  b", False),
        ("    indented", False),
        ("a\n\n\nb", False),
        ("\\* x", True),
        ("1. a", False),
        ("a &amp; b", False),
        ("see https://a.example", True),
        ("  two blanks", False),
        ("a\tb", False),
        ("a\u200bb", False),
    ],
)
def test_the_raw_view_is_offered_where_it_shows_something_else(text, plain):
    assert is_plain(text) is plain
    assert ("<pre class" in shown_text(text)) is not plain


def test_the_raw_view_is_the_text_itself():
    text = "  *a* <b>\n\n\n\tx  y\n1) &lt; $z$"
    assert unescape(shown_text(text).split('<pre class="raw" dir="auto" lang="">\n')[1].split("</pre>")[0]) == text


@pytest.mark.parametrize(
    "unit", ["\\(", "\\[", "(", "[](", "***a", "~~", "# ", "1. ", "`a", "a|b\n-|-\n", "    ", "&#", "\\"]
)
def test_hostile_text_takes_bounded_time(unit):
    began = time.process_time()
    markdown(unit * (MAX_CHARACTERS // len(unit)))
    markdown("\n".join(unit * 40 for _ in range(MAX_CHARACTERS // len(unit) // 40)))
    assert time.process_time() - began < 10.0


def test_macros_that_double_take_bounded_time():
    began = time.process_time()
    names = "abcdefghijklmnopqrstuvwxyz"
    doubling = "".join(f"\\def\\{b}{{{{\\{a}}}{{\\{a}}}}}" for a, b in pairwise(names))
    source = f"$\\def\\a{{x}}{doubling}\\z$"
    assert unescape(markdown(source)).count(doubling) == 1 and "<math" not in markdown(source)
    for name in ("newcommand", "renewcommand", "providecommand", "gdef", "edef", "xdef", "let"):
        assert "<math" not in markdown(source.replace("def", name))
    assert time.process_time() - began < 10.0


def test_deep_nesting_ends():
    for open_ in ("> ", "- ", "**", "[", "*_", "> - "):
        Strict().feed(markdown(open_ * 2000 + "x"))


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_hostile_code_takes_bounded_time(language):
    began = time.process_time()
    for unit in ["(", "{", '"', "/*", "<a", "a", "\\", "#", "$", "0", "::", "@a", "%{", "<<", "/"]:
        markdown(f"```{language}\n{unit * (MAX_CODE // len(unit) // 2)}\n```")
    assert time.process_time() - began < 20.0


@pytest.mark.parametrize("unit", ["[", "*", "`", "> ", "$", "- ", "![](", "_a", "|", "\\(", "<a ", "$$\\frac{"])
def test_hostile_text_takes_no_quadratic_time(unit):
    began = time.process_time()
    markdown(unit * (MAX_CHARACTERS // len(unit)))
    assert time.process_time() - began < 5.0  # measured: 0.5 s at most
