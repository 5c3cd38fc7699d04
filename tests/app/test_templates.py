"""What holds for every template, stylesheet and script: nothing inline, a token in each form, all text translatable."""

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import nodes

from app.config import ROOT
from app.web.templates import environment

TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
OWN_STATIC = sorted(path for path in (ROOT / "static").rglob("*") if path.is_file() and "vendor" not in path.parts)
SAME_IN_EVERY_LANGUAGE = {"Plumbline", "UTC", "SHA", "JSON", "JSONL", "CSV", "KL", "SFT", "RM", "PPO", "EMA", "OpenAPI"}
TYPE_SCALE_REM = {0.75, 0.8125, 0.875, 0.9375, 1, 1.125, 1.25, 1.5, 1.75}
SPOKEN = {"placeholder", "title", "alt", "aria-label", "label"}  # attributes that people read or hear


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def source(path: Path) -> str:
    """The template without comments."""
    return re.sub(r"\{#.*?#\}", "", path.read_text(), flags=re.S)


def as_html(path: Path) -> str:
    """What is written as it stands: the template without expressions, statements, translated blocks and code."""
    text = source(path)
    for taken in (
        r"\{%-?\s*trans\b.*?endtrans\s*-?%\}",
        r"\{%-?\s*set\s+\w+\s*-?%\}.*?endset\s*-?%\}",
        r"\{\{.*?\}\}",
        r"\{%.*?%\}",
        r"<(?:code|kbd|pre)\b.*?</(?:code|kbd|pre)>",
    ):
        text = re.sub(taken, "…", text, flags=re.S)
    return text


class Elements(HTMLParser):
    """All elements with their attributes and all text outside of scripts."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, {key: value or "" for key, value in attributes}))

    def handle_data(self, data):
        self.texts += [data.strip()] if data.strip() else []


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_no_template_has_inline_script_style_or_evaluated_htmx(path):
    for tag, attributes in Elements(as_html(path)).elements:
        assert tag != "style", "styles belong into static/"
        assert tag != "script" or attributes.get("src") or attributes.get("type") == "application/json"
        for key, value in attributes.items():
            assert key != "style" and not key.startswith("on"), (tag, key)
            assert not key.startswith("hx-on"), "behaviour belongs into static/*.js"
            assert not value.strip().lower().startswith(("js:", "javascript:")), (tag, key, value)
            assert not (key.startswith("hx-trigger") and "[" in value), "a trigger filter is evaluated"
            assert not re.match(r"(https?:)?//", value) or tag == "a", f"{value}: nothing is loaded from elsewhere"


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_every_form_that_posts_carries_the_csrf_token(path):
    text = source(path)
    forms = re.findall(r"<form\b.*?</form>", text, flags=re.S)
    assert len(forms) == len(re.findall(r"<form\b", text)), "a form that does not end in the same template"
    for form in forms:
        opening = form.split(">")[0]
        if re.search(r'method="post"', opening, flags=re.I):
            assert "csrf_field()" in form, opening


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_all_text_that_people_read_can_be_translated(path):
    page = Elements(as_html(path))
    for text in page.texts:
        plain = re.sub(r"\S*[_/=]\S*", "", text)  # without paths, names of values, and attributes that macros write
        words = set(re.findall(r"[A-Za-zÀ-ž]{2,}", plain)) - SAME_IN_EVERY_LANGUAGE
        assert not words, f"not translatable: {text!r}"
    for tag, attributes in page.elements:
        for key in SPOKEN & set(attributes):
            assert not re.search(r"[A-Za-z]{2,}", attributes[key]), (
                f"not translatable: <{tag} {key}={attributes[key]!r}>"
            )


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_what_people_wrote_is_not_said_to_be_in_the_language_of_the_page(path):
    for tag, attributes in Elements(source(path)).elements:
        if attributes.get("dir") == "auto" and tag not in ("input", "textarea"):
            assert "lang" in attributes, f"<{tag}> holds text of any direction, so of any language"


def test_there_is_one_type_scale():
    said = {
        size
        for path in OWN_STATIC
        if path.suffix == ".css"
        for size in re.findall(r"font-size:\s*([\d.]+)(?:rem|px)", path.read_text())
    }
    assert {float(size) for size in said} <= TYPE_SCALE_REM, "a size of its own is one too many"


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_every_template_compiles_and_marks_nothing_safe(path):
    tree = environment().parse(path.read_text())
    assert not [found for found in tree.find_all(nodes.Filter) if found.name == "safe"], "use markdown()"
    assert not list(tree.find_all(nodes.ScopedEvalContextModifier)), "autoescape stays on"
    environment().get_template(str(path.relative_to(ROOT / "templates")))


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_every_static_file_that_a_template_names_exists(path):
    for asked in re.findall(r"static\(['\"]([^'\"]+)['\"]\)", source(path)):
        assert (ROOT / "static" / asked).is_file(), asked


@pytest.mark.parametrize("path", [path for path in OWN_STATIC if path.suffix in (".js", ".css")], ids=name)
def test_scripts_and_styles_load_nothing_from_elsewhere_and_evaluate_nothing(path):
    text = path.read_text()
    assert not re.search(
        r"\b(eval|Function)\s*\(|\.innerHTML\s*=|insertAdjacentHTML|document\.write|\.style\.cssText", text
    )
    assert not re.search(r"(url\(|import\s*\(?|from\s+)['\"]?(https?:)?//", text)


def test_vendored_files_are_the_ones_of_the_lock():
    folder = ROOT / "static" / "vendor"
    lock = json.loads((folder / "lock.json").read_text())
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set(lock)
    for library, entry in lock.items():
        assert entry["integrity"].startswith("sha512-") and entry["licence"]
        found = {
            path.name: "sha256-" + hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (folder / library).iterdir()
        }
        assert found == entry["files"], library
        assert any(file.startswith("LICENSE") for file in found), f"{library} lies here without its licence"
