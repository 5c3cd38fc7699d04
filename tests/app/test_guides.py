"""README and docs/ say what there is: requests, settings, commands, keys, values, links and folders."""

import importlib.util
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from typer.main import get_command

from app.accounts.tables import Scope
from app.assignments.tables import SkipReason
from app.cli import cli
from app.comparisons.formats import ComparisonFormat
from app.config import ROOT, Settings
from app.conversations.tables import Origin
from app.jobs.tables import JobVerb
from app.launch import settings_guide
from app.main import create_app
from app.prompt_writing.tables import WRITTEN
from app.prompts.tables import PromptSource
from app.rounds.tables import ItemKind
from app.snapshots.exports import Format
from app.snapshots.shapes import What
from tests.guides import GUIDES, named, refuses, requests, section, typed, words_behind
from training import try_network
from training.contract.recipes import CONFIGS, RECIPES
from training.contract.records import AnsweredBy, Split, Use, UseCase
from training.run.command import _parser

ELSEWHERE = {"PLUMBLINE_BIND", "PLUMBLINE_TOKEN", "PLUMBLINE_PASSWORD"}  # of the compose file and of commands
SETTINGS = {f"PLUMBLINE_{name.upper()}" for name in Settings.model_fields} | ELSEWHERE
OTHER_PATHS = {
    "/api/v1/openapi.json",
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/chat/completions",
    "/v1/models",
    "/health",
}
DOCS = ROOT / "docs"
guides = pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)


@pytest.fixture(scope="module")
def described() -> dict[str, dict]:
    return create_app().openapi()["paths"]


# --- REST ---


def _is(pattern: str, path: str) -> bool:
    """Whether a path of a guide is one of the description's: a placeholder for a placeholder, a name for {name}."""
    if len(parts := pattern.split("/")) != len(said := path.split("/")):
        return False
    return all(
        ours == theirs or (ours[:1] == "{" and (theirs[:1] == "{" or theirs.isupper() or ours in ("{name}", "{kind}")))
        for ours, theirs in zip(parts, said, strict=True)
    )


@guides
def test_every_request_is_one_that_rest_takes(path, described):
    unknown = [
        f"{method} {asked}"
        for method, asked in requests(path)
        if asked not in OTHER_PATHS
        and not any(_is(pattern, asked) and method.lower() in acts for pattern, acts in described.items())
    ]
    assert not unknown


@guides
def test_every_address_of_rest_that_is_named_exists(path, described):
    said = re.findall(r"/api/v1/[\w/{}.-]*\w", re.sub(r"\{[\w,]+,[\w,]+\}.*", "", path.read_text()))
    begun = {"/".join(pattern.split("/")[:n]) for pattern in described for n in range(4, 9)}
    assert not [one for one in said if not any(_is(pattern, one) for pattern in begun | OTHER_PATHS)]


def test_the_description_tells_every_refusal_and_every_cursor():
    made = create_app().openapi()
    refusals = {
        ("post", "/api/v1/prompts/import"): "501",
        ("post", "/api/v1/policies/{id}/try"): "502",
        ("post", "/api/v1/assignments/{id}/suggestions"): "503",
    }
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for (method, path), status in refusals.items():
        assert made["paths"][path][method]["responses"][status]["content"] == problem
    assert all("405" in act["responses"] for acts in made["paths"].values() for act in acts.values())
    pages = [one for one in made["components"]["schemas"].values() if "next_cursor" in one.get("properties", {})]
    assert len(pages) > 15 and all({"items", "next_cursor"} <= set(page["required"]) for page in pages)
    drafts = made["paths"]["/api/v1/assignments/{id}/draft"]["post"]["parameters"]
    assert next(one for one in drafts if one["name"] == "If-Match")["required"]


# --- settings, commands, keys ---


@pytest.mark.parametrize(
    "path", [*GUIDES, ROOT / "docker-compose.yml", ROOT / "Dockerfile", ROOT / "Makefile"], ids=lambda path: path.name
)
def test_every_setting_that_is_named_exists(path):
    assert set(re.findall(r"PLUMBLINE_[A-Z0-9_]*[A-Z]", path.read_text())) <= SETTINGS


def test_the_page_of_settings_is_current():
    assert settings_guide.PATH.read_text() == settings_guide.guide(), "run `make settings`"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Iterator[Path]:
    """The folder of a guide's reader, who has given a password already."""
    folder = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PLUMBLINE_PASSWORD", "four unrelated words")
        environment.chdir(folder)
        yield folder


def touched(folder: Path, words: list[str]) -> list[str]:
    """The words with the folder as home, every file that they name being there."""
    there = [word.replace("~", str(folder)).replace("*", "") for word in words]
    for file in (folder / word for word in there if re.search(r"\.(jsonl|csv|gz)$", word)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return there


@guides
def test_every_command_is_one_that_plumbline_takes(path, elsewhere):
    lines = [(words, True) for words in words_behind(typed(path), "plumbline")]
    lines += [(words, False) for words in words_behind(named(path), "plumbline")]
    wrong = {}
    for words, whole in lines:
        if refusal := refuses(touched(elsewhere, words), whole=whole):
            wrong[" ".join(words)] = refusal
    assert not wrong


def _helps(command) -> Iterator[str]:
    """The help of every command and of its options."""
    yield "\n".join([command.help or "", *(getattr(one, "help", "") or "" for one in command.params)])
    for inner in getattr(command, "commands", {}).values():
        yield from _helps(inner)


def test_every_command_in_a_help_is_one_that_plumbline_takes(elsewhere):
    found = {}
    for said in _helps(get_command(cli)):
        examples = [line.partition(" (")[0] for line in re.findall(r"(?:^|: )(plumbline .*)", said, re.M)]
        lines = [(line, True) for line in words_behind(examples, "plumbline")]
        lines += [(line, False) for line in words_behind(re.findall(r"`([^`]+)`", said), "plumbline")]
        found |= {" ".join(line): refuses(touched(elsewhere, line), whole=whole) for line, whole in lines}
    assert len(found) > 10
    assert not {line: why for line, why in found.items() if why}


def _wrong_keys(verb: str, recipe: str | None, keys: list[str]) -> list[str]:
    """What of a recipe and `key=value` words a verb does not know."""
    known = CONFIGS[verb].model_fields
    wrong = [key for key in keys if key.partition("=")[0].partition(".")[0] not in known]
    return wrong + ([recipe] if recipe and (recipe not in RECIPES or RECIPES[recipe].verb != verb) else [])


@guides
def test_every_training_command_is_one_that_training_takes(path, monkeypatch):
    monkeypatch.setattr(try_network, "tried", lambda folder: {"folder": str(folder), "findings": []})
    for words in words_behind([*typed(path), *named(path)], "-m"):
        module, *rest = words
        verb = module.removeprefix("training.")
        if not module.startswith("training.") or verb in ("VERB", "miniature"):
            continue
        if verb == "try_network":
            assert try_network.main(rest) == 0, words
        elif rest not in ([], ["--help"]):
            rest = [word for word in rest if word != "--set" or rest[-1] != "--set"]
            options = _parser(verb).parse_args(rest)
            recipe = None if options.config.isupper() else options.config
            assert not _wrong_keys(verb, recipe, options.set), words
        else:
            assert verb in CONFIGS, words


@guides
def test_every_job_has_a_recipe_and_keys_of_its_verb(path):
    for words in words_behind(typed(path), "plumbline job create"):
        if words[0] in CONFIGS:
            options = list(pairwise(words))
            recipe = next((value for name, value in options if name == "--recipe"), None)
            assert not _wrong_keys(words[0], recipe, [value for name, value in options if name == "--set"]), words
            assert words[0] in set(JobVerb)


@guides
def test_every_module_and_target_that_is_run_exists(path):
    targets = set(re.findall(r"^([\w./$()-]+):", (ROOT / "Makefile").read_text(), re.M))
    targets = {target.replace("$(TORCH)", "cuda") for target in targets}
    for line in [*typed(path), *named(path)]:
        for module in re.findall(r"python -m ((?:training|tests|app)\.[\w.]+)", line):
            assert module == "training.VERB" or importlib.util.find_spec(module), module
        for target in re.findall(r"^(?:PLUMBLINE_\w+=\S+ )?make (?!-s)([\w./-]+)", line):
            assert target in targets, target


# --- values ---

TABLES = {  # what the first cells of a table name, or the second of one row
    "kinds of writing": (DOCS / "writing.md", "| kind |", WRITTEN),
    "sources": (DOCS / "import.md", "| `source`", PromptSource),
    "use cases": (DOCS / "import.md", "| `use_case`", UseCase),
    "splits": (DOCS / "import.md", "| `split`", Split),
    "exports": (DOCS / "exports.md", "| name |", What),
    "who answered": (DOCS / "held-out.md", "| the line says |", AnsweredBy),
    "scopes": (DOCS / "rest.md", "| scope |", Scope),
}
PROSE = {  # what a paragraph names among other things
    "kinds of work": (DOCS / "rest-labeling.md", "`kind` is", ItemKind),
    "reasons to skip": (DOCS / "rest-labeling.md", "`POST .../skip`", SkipReason),
    "origins": (DOCS / "conversations.md", "- *Admin → Conversations*", Origin),
    "formats": (DOCS / "exports.md", "Over REST", Format),
    "uses": (DOCS / "held-out.md", "| the answer is", Use),
}


def _words(text: str) -> set[str]:
    return {word.removeprefix(".") for word in re.findall(r"`([\w. ]+)`", text)}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_values_is_that_of_their_enum(name):
    path, begins, values = TABLES[name]
    rows = [row.split(" | ") for row in section(path, begins).splitlines()]
    cells = [rows[0][1]] if begins.startswith("| `") else [row[0] for row in rows[2:]]
    assert _words(" ".join(cells)) == set(values)


@pytest.mark.parametrize("name", PROSE)
def test_every_value_of_an_enum_is_told(name):
    path, begins, values = PROSE[name]
    assert set(values) <= _words(section(path, begins))


def test_every_format_of_comparisons_is_told():
    assert set(re.findall(r"`--format ([\w-]+)`", (DOCS / "import.md").read_text())) >= set(ComparisonFormat)


# --- links and folders ---


@guides
def test_no_guide_holds_the_marks_of_a_merge(path):
    assert not re.search(r"^(<{7}|={7}|>{7})( |$)", path.read_text(), re.M)


@guides
def test_links_lead_somewhere(path):
    prose = re.sub(r"`[^`\n]*`", "", path.read_text())
    for target, heading in re.findall(r"\]\(([^)#:]+)(?:#([\w-]+))?\)", prose):
        assert (path.parent / target).exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", (path.parent / target).read_text(), re.M)
            assert heading in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}, heading


def test_every_guide_is_linked_from_the_readme():
    text = (ROOT / "README.md").read_text()
    assert [path.name for path in GUIDES[1:] if f"docs/{path.name}" not in text] == []


def test_folders_of_the_readme_exist():
    tree = (ROOT / "README.md").read_text().split("## Where things are")[1].split("```")[1].removeprefix("text")
    parent = ROOT
    for line in filter(None, tree.splitlines()):
        for name in re.findall(r"([\w]+)/(?= )", line.partition("   ")[0] + " "):
            place = parent / name if line.startswith("  ") else ROOT / name
            assert place.is_dir(), place
            parent = place if not line.startswith("  ") else parent


def test_lines_of_the_docs_have_at_most_160_characters():
    """Tables and code are as long as they are."""
    long = []
    for path in [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]:
        code = False
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code ^= line.lstrip().startswith("```")
            if len(line) > 160 and not code and not line.startswith(("|", "    ", "{")):
                long.append(f"{path.name} {number}")
    assert long == []
