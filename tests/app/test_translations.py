"""Messages can be collected: gettext is called with literals, and its tool finds them in code and templates."""

import ast
import re

from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from app.config import ROOT
from app.i18n import FOLDER, languages

CALLS = {"_", "N_", "gettext", "ngettext"}


def test_gettext_is_called_with_literals():
    for path in (ROOT / "app").rglob("*.py"):
        name = str(path.relative_to(ROOT))
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in CALLS:
                literal = isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
                marked = isinstance(call.args[0], ast.Attribute)  # a value that was marked with N_
                assert literal or marked, f"{name}:{call.lineno} cannot be collected for translation"


def messages() -> set[str]:
    found = set()
    for folder, method, options in (("app", "python", {}), ("templates", "jinja2", {"extensions": "jinja2.ext.do"})):
        for _file, _line, message, *_rest in extract_from_dir(
            ROOT / folder, method_map=[("**.py", method), ("**.html", method)], options_map={"**.html": options},
            keywords={**{"_": None, "gettext": None, "N_": None}, "ngettext": (1, 2)},
        ):  # fmt: skip
            found |= {message} if isinstance(message, str) else set(message)
    return found


def test_the_tool_finds_messages_of_code_templates_and_errors():
    found = messages()
    assert {"Sign in", "Please sign in", "Please sign in to go on.", "Signed in at %(num)s places."} <= found


def test_translations_keep_the_placeholders():
    for language in languages()[1:]:
        with (FOLDER / language / "LC_MESSAGES" / "messages.po").open("rb") as file:
            for message in read_po(file, locale=language):
                texts = [message.string] if isinstance(message.string, str) else list(message.string)
                asked = message.id if isinstance(message.id, str) else message.id[-1]
                for text in filter(None, texts):
                    assert set(re.findall(r"%\(\w+\)[sd]", text)) == set(re.findall(r"%\(\w+\)[sd]", asked)), text
