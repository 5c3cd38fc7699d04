"""A text under judgement hides nothing: every word of it is in what is shown, whatever Markdown makes of it."""

import json
import re
from collections import Counter
from html import unescape
from pathlib import Path

import pytest

from app.web import markdown as module
from app.web.markdown import is_plain, markdown
from app.web.templates import environment
from app.web.unseen import visible
from tests.app.web.markdown_texts import UNSEEN, Writer
from tests.app.web.test_markdown import ATTACKS, shown_text
from tests.shown import Strict, text_of, words

CASES = Path(__file__).parents[4] / "shared" / "cases" / "import" / "r01_text_that_vanishes.jsonl"
NOTE = "Shown as plain text: Markdown would hide part of it."


def hidden(source: str, html: str) -> list[str]:
    """The words of the source that a reader of the HTML does not find; names of TeX commands may become signs."""
    shown = text_of(html)
    formulas = "<math" in html
    if formulas:
        source = re.sub(r"\\(?:begin|end)\{\w+\*?\}|\\[a-zA-Z]+", " ", source)
    wanted = words(re.sub(f"[{''.join(UNSEEN)}]", " ", source))
    if formulas:  # which puts an index before what it stands at
        return [word for word, times in Counter(wanted).items() if shown.count(word) < times]
    at, missing = 0, []
    for word in wanted:
        found = shown.find(word, at)
        missing += [word] if found < 0 else []
        at = at if found < 0 else found + len(word)
    return missing


def test_the_test_sees_what_is_hidden():
    assert hidden("[Answer]: 42 a", "<p>[Answer]: a</p>") == ["42"]
    assert hidden("a b a", "<p>a b</p>") == ["a"]
    assert hidden("1986. b", "<ol><li>b</li></ol>") == ["1986"]
    assert hidden("$x y$", "<math><mi>x</mi><mphantom><mi>y</mi></mphantom></math>") == ["y"]
    assert not hidden("7. b\n8. *c*d", '<ol start="7"><li>b</li><li><em>c</em>d</li></ol>')


@pytest.mark.parametrize("seed", range(0, 2400, 200))
def test_every_word_of_any_markdown_is_shown(seed):
    for number in range(seed, seed + 200):
        writer = Writer(number)
        source = writer.blocks()
        if number % 2:
            source = writer.broken(source)
        html = markdown(source, 3)
        assert not hidden(source, html), (number, source)
        Strict().feed(html)  # nothing falls back to the raw text either


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_word_of_an_attack_is_shown(attack):
    for source in (attack, f"> - {attack}", f"**{attack}**", f"[{attack}](https://a.example)", f"| {attack} |\n|---|"):
        assert not hidden(source, markdown(source)), source


def test_every_word_of_what_vanished_is_shown():
    if not CASES.exists():
        pytest.skip("the inputs that failed are not here")
    for line in CASES.read_text().splitlines():
        source = json.loads(line)["completion"]
        assert not hidden(source, markdown(source)), source


def plain(source: str) -> str:
    """What is read, on one line."""
    return " ".join(text_of(markdown(source)).split())


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("[Answer]: 42", "[Answer]: 42"),
        ("41.\n\n[1]: https://a.example 'x'", "41. [1]: https://a.example 'x'"),
        ("- " * 14 + "deep", "- - - - - deep"),
        ("> " * 22 + "deep\nlazy", "> > > > deep lazy"),
        ("> " * 22 + "```\n" + "> " * 22 + "code", "> > > > ``` > > > > code"),
        ("a | b\n-|-\n1 | 2 | *3* | 4 \\| 5", "a b 1 2 3 4 | 5"),
        ('[t](https://a.example/%20?a&amp;b "ti*t*le").', 't (https://a.example/%20?a&amp;b "ti*t*le").'),
        ("[https://a.example](https://a.example)", "https://a.example"),
        ("![alt](https://a.example 'title')", "![alt](https://a.example 'title')"),
        ("[f](x) and [p](page.html)", "[f](x) and [p](page.html)"),
        ("[a]: /url\n[a] [b][a]", "[a]: /url [a] [b][a]"),
        ("<https://a.example/%D0%B0>", "https://a.example/%D0%B0"),
        ("<a@b.example> std::vector<std::string>", "<a@b.example> std::vector<std::string>"),
        ("```py title='x'\n1\n```", "py title='x' 1"),
        ("a<!-- b --><i c=d>", "a<!-- b --><i c=d>"),
        ("<div>\n*b*\n<!-- c -->", "<div> b <!-- c -->"),
        ("&amp; &#8203; &zwj; &nbsp;", "&amp; &#8203; &zwj; &nbsp;"),
        ("C:\\.ssh \\d+\\.\\d \\\\srv \\*a\\*", "C:\\.ssh \\d+\\.\\d \\\\srv \\*a\\*"),
        ("ls \\\n  -l", "ls \\ -l"),
        ("2*3*4, 2*3 and 4*5, f(x)**2**g(y)", "2*3*4, 2*3 and 4*5, f(x)**2**g(y)"),
        ("/* a */ b /* c */ /*d*/", "/* a */ b /* c */ /*d*/"),
        ("/** a\n */ src/**/*.py and **/*.js", "/** a */ src/**/*.py and **/*.js"),
        ("**yes**/**no**, *a*[1], **b**(c)", "yes/no, a[1], b(c)"),
        ("__init__ and __a b__", "__init__ and a b"),
        ("这是**重要**的", "这是重要的"),
        ("~/a ~b~", "~/a ~b~"),
        ("a\n---\nb\n===\nc\n=", "a b === c ="),
        ("# #", "#"),
        ("##\n\na", "## a"),
        ("7) a\n8) b", "7) a 8) b"),
        ("3. c\n2. b\n1. a", "3. c 2. b 1. a"),
        ("1. a\n1. b", "1. a 1. b"),
        ("01. a", "01. a"),
        ("1986. A great year", "1986. A great year"),
        ("5. a\n6. b\n   1. c\n7. d", "5. a 6. b 1. c 7. d"),
        ("$x$ $foo.$bar US$5$ $n$th", "x $foo.$bar US$5$ nth"),
        ("$$\na\n$$ (eq1)", "a (eq1)"),
        ("$$\na\n\nb\n$$", "$$ a b $$"),
        ("$\\label{e1}x$", "$\\label{e1}x$"),
        ("$\\phantom{secret}$ $\\,$", "$\\phantom{secret}$ $\\,$"),
        ("$a % b\n= c$", "$a % b = c$"),
        ("$\\color{white}{x}$", "$\\color{white}{x}$"),
        ("$\\hspace{42em}x$", "$\\hspace{42em}x$"),
        ("$\\text{<b>x</b> &amp;}$", "<b>x</b> &amp;"),
        ("$\\begin{matrix} a & b \\\\ c & \\end{matrix}$", "$\\begin{matrix} a & b \\\\ c & \\end{matrix}$"),
        ("$$\\begin{align} a &= b \\end{align}$$", "a=b"),
        ("$" + "x" * 3000 + "$", "$" + "x" * 3000 + "$"),
    ],
)
def test_what_used_to_be_hidden(source, shown):
    assert plain(source) == shown
    Strict().feed(markdown(source))


CODE = r"""SELECT COUNT(*), SUM(x) / COUNT(*) FROM t
["*.py", "*.js"] and "*foo" or "bar*"
join by "_" or by "_"
char *s="*"; char *t="*";
int *p = (int*)malloc(n); f(*a, b) or (c, *d)
(_,_) (~~,~~) "~~" "~~" {*} {*}
.*foo.* and .* or ^*a*$
f(*args, **kwargs) and g(*a, **b)
src/**/*.py **/*.js ./*.md
2*3*4 x**2**y a*=b*=c
export PATH=${HOME}/bin:${PATH}
cmd "$(a)" "$(b)" $(c)/$(d)
"${a}-${b}" '$a'-'$b' "$a"-"$"
let $el=$("#id"); $el.x($(".c")); a($.b,$.c)
awk '{print $1,$(NF)}' <<< "$_,$_"
kill $$; echo $$
^\w+$|^\d+$ s/a$/b$/ grep "^$(whoami)$"
sed 's/\(a\)\(b\)*/\2\1/'
^\$\d+\.\d\# C:\_dir \\srv\_a \<b\> \`c\` 5\* \~d
>>> print(1)
>= 5 and >5 GB
\(5%\) a year, $a % b$
$\phantom{-}5$ $\hspace{+-}b$ $\href{/+-}{a}$ $\sideset{-}{+}\sum$ $\rule{1+}{-}x$
$\begin{secret}x\end{secret}$ $\begin{matrix}{c}x\secret\end{matrix}$ $\def\secret{x}\secret$
$\newcommand{\a}{b}\a$ $\renewcommand{\a}[1]{b}\a$ $\DeclareMathOperator{\a}{b}\a$ $\let\a=b$ $\gdef\a{b}\a$
$\vphantom{(}a$ $\hphantom{+}a$ $\smash{a}$ $\color{-}x$ $\kern-5pt x$ $\unicode{x41}$ $\class{-}{x}$"""


@pytest.mark.parametrize("line", CODE.split("\n"))
def test_code_in_prose_is_shown_sign_for_sign(line):
    """The reference is the source itself: none of these is markup."""
    assert plain(line) == line
    assert plain(f"a\n{line}") == f"a {line}", "after a line of prose too"
    assert plain(f"> a\n> {line}\n\n- {line}") == f"a {line} {line}", "and in quotes and lists"
    assert NOTE not in markdown(line)


@pytest.mark.parametrize("command", ["op", "rel", "bin", "open", "close", "punct", "ord", "inner"])
def test_classes_of_signs_keep_what_they_are_given(command):
    assert "abc" in plain(f"$\\math{command}{{abc}}$")


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (r"-a+b", "−a+b"),
        (r"f'(x) = n!", "f′(x)=n!"),
        (r"\left( x \right.", "(x"),
        (r"\sqrt[3]{x} \in [0, 1)", "x3∈[0,1)"),
        (r"\{a, b\} 5\% \& \# \$", "{a,b}5%&#$"),
        (r"\begin{array}{c|c} a & -b \\ c & d \end{array}", "a−bcd"),
        (r"\begin{cases} 1, & x<0 \\ -1 \end{cases}", "{1,x<0−1"),
        (r"\lim_{x\to0} \sin x \ldots", "limx→0sinx…"),
        (r"\operatorname{arg-max}_x \text{so, (a)}", "arg−maxxso, (a)"),
        (r"\hat{x}\cdot\vec{y} \neq \overline{AB}", "x^·y→≠AB―"),
        (r"\big( a \Big) \xrightarrow[a]{b}", "(a)→ab"),
    ],
)
def test_formulas_of_every_day_are_typeset_with_all_their_signs(source, shown):
    for around in ("${}$", "\\({}\\)", "$$\n{}\n$$", "**${}$**, x", "(${}$)."):
        html = markdown(around.format(source))
        assert "<math" in html and shown in text_of(html).replace("\xa0", " "), around


def test_emphasis_as_people_write_it_stays():
    source = (
        '**Note:** *it* (**x**) "**q**" ***b i*** **_x_** **`code()`** **[l](https://a.example)** **C++** **John**\'s '
        '~~gone~~ **1. Title** *(a)* **"Hello," she** **Why?** **yes**/**no** 这是**重要**的 **a _b_ c** *-5* **b.**'
    )
    shown = plain(source)
    assert "*" not in shown and "_" not in shown and "~" not in shown
    assert markdown("# Learn C #\n\n## a ##").count("#") == 3


def test_the_check_sees_a_sign_that_is_no_mark_around_words():
    parser = module._parser()
    parser.enable("lheading")  # a rule that takes a line away
    module._rendered.cache_clear()
    try:
        assert NOTE in markdown("a, b\n===")
    finally:
        parser.disable("lheading")
        module._rendered.cache_clear()
    for source, shown in (("a (*) b", "a () b"), ("x -y", "x y"), ('"_"', '""'), ("$5", "5"), ("a > b", "a b")):
        assert not module._shows_all(source, shown, [])


def test_signs_of_lists_are_those_that_were_written():
    html = markdown("- 5\n\n+ 30\n\n* a")
    assert '<ul class="minus">' in html and '<ul class="plus">' in html and "<ul>" in html
    assert markdown("9. a\n10. b").startswith('<ol start="9">\n<li>a</li>'), "the browser counts as it is written"


def test_a_link_shows_where_it_leads():
    html = markdown("[text](https://a.example/x)")
    assert 'href="https://a.example/x"' in html and '<span class="address">(https://a.example/x)</span>' in html
    assert "<a" not in markdown("![x](https://a.example/pixel.png)") + markdown("[x](javascript:alert(1))")


def test_indentation_is_kept():
    assert "<code>return x\n    y" in markdown("    return x\n        y")
    assert (
        markdown("  if x:\n    y\n\tz")
        == "<p>&nbsp;&nbsp;if x:<br>\n&nbsp;&nbsp;&nbsp;&nbsp;y<br>\n&nbsp;&nbsp;&nbsp;&nbsp;z</p>\n"
    )
    assert "<li>a<br>\nb</li>" in markdown("- a\n  b"), "what belongs to the list is none"
    assert '<pre class="raw" dir="auto" lang="">\n  a\n</pre>'.replace("\n</", "</") in shown_text("\n\n  a \n")


@pytest.mark.parametrize("sign", UNSEEN)
def test_what_cannot_be_seen_is_shown_by_its_number(sign):
    mark = f"⟨U+{ord(sign):04X}⟩"
    for source in (
        f"a{sign}b",
        f"`a{sign}b`",
        f"$a{sign}b$",
        f"```py\na{sign}b\n```",
        f"[a{sign}b](https://a.example/{sign})",
    ):
        html = markdown(source)
        assert sign not in html and f"a{mark}b" in text_of(html), source
        Strict().feed(html)
        page = shown_text(source)
        assert sign not in page and text_of(page).count(mark) >= 2, "in the raw view too"


def test_a_look_of_marks_gives_no_way_into_attributes():
    html = markdown('[a](https://a.example "\u200b onmouseover=alert(1)") ⟨U+200B⟩')
    assert html.count('<span class="unseen">') == 2
    Strict().feed(html)


def test_what_markdown_would_still_hide_is_shown_raw_and_says_so():
    parser = module._parser()
    parser.enable("reference")  # as a rule would that nobody thought of
    module._rendered.cache_clear()
    try:
        html = markdown("*The*\n\n[Answer]: <42>\n\n\u200b")
        assert text_of(html).split("\n") == ["", NOTE, "", "", "", "*The*", "", "[Answer]: <42>", "", "⟨U+200B⟩", ""]
        assert is_plain("*The*\n\n[Answer]: 42"), "so no raw view is offered beside it"
        page = environment().get_template("texts.html").module.text("[Answer]: 42")
        assert page.count("[Answer]: 42") == 1 and "as-written" not in page
    finally:
        parser.disable("reference")
        module._rendered.cache_clear()
    assert NOTE not in markdown("*The*\n\n[Answer]: <42>\n\n\u200b")


def test_a_text_that_is_too_long_hides_nothing_either():
    source = "*a* \u202eb " * 10_000
    html = markdown(source)
    assert html.startswith('<pre class="raw">') and unescape(re.sub("<[^>]*>", "", html)) == visible(source)
