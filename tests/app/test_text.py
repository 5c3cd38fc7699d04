"""Markdown of untrusted text: what it may show, and what no attack gets through."""

import time
from html.parser import HTMLParser

import pytest

from app.web.text import ATTRIBUTES, MAX_CHARACTERS, TAGS, markdown

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
]


class Strict(HTMLParser):
    """Fails on any tag or attribute that is not on the list, and on any address that is not the web or mail."""

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS
        for name, value in attributes:
            assert name in ATTRIBUTES.get(tag, set()) | ({"rel"} if tag == "a" else set()), (tag, name)
            if name == "href":
                assert value.lower().startswith(("http://", "https://", "mailto:", "/", "#")), value

    handle_startendtag = handle_starttag

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_gets_through(attack):
    for text in (attack, f"> - {attack}", f"**{attack}**", f"[{attack}](https://a.example)"):
        Strict().feed(markdown(text))


def test_what_is_meant_is_shown():
    html = markdown("# Title\n\nSome *text* with `code` & a [link](https://a.example), ~~gone~~\n\n1. one\n2. two")
    for part in ("<h1>Title</h1>", "<em>text</em>", "<code>code</code>", "&amp;", "<s>gone</s>", "<li>two</li>"):
        assert part in html
    assert '<a href="https://a.example" rel="noopener noreferrer nofollow">link</a>' in html
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


@pytest.mark.parametrize("unit", ["[", "*", "`", "> ", "$", "- ", "![](", "_a", "|", "\\(", "<a ", "$$\\frac{"])
def test_hostile_text_takes_no_quadratic_time(unit):
    began = time.process_time()
    markdown(unit * (MAX_CHARACTERS // len(unit)))
    assert time.process_time() - began < 5.0  # measured: 0.5 s at most
