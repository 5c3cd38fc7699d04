"""docker-compose.yml, the Dockerfile and the guides speak of settings, commands and files that exist."""

import re

import pytest
import yaml
from typer.main import get_command

from app.cli import cli
from app.config import ROOT, Settings

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SETTINGS = {f"PLUMBLINE_{name.upper()}" for name in Settings.model_fields}
ELSEWHERE = {"PLUMBLINE_BIND", "PLUMBLINE_TOKEN"}  # of the compose file and of `plumbline simulate`


def refuses(words: list[str]) -> str | None:
    """Why these words are no `plumbline` command, or None."""
    command = get_command(cli)
    for word in words:
        if word.startswith("-") or not hasattr(command, "commands"):
            break
        if word not in command.commands:
            return f"{word} is none of {', '.join(command.commands)}"
        command = command.commands[word]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - known
    return f"no option {', '.join(unknown)}" if unknown else None


def test_every_service_is_watched_and_waits_for_what_it_needs():
    for name, service in COMPOSE["services"].items():
        if name == "migrate":
            continue
        assert service["healthcheck"]["test"], name
        if name not in ("postgres", "redis"):
            assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert service["restart"] == "unless-stopped"


def test_no_secret_is_written_down():
    text = (ROOT / "docker-compose.yml").read_text()
    for name in ("POSTGRES_PASSWORD", "PLUMBLINE_SECRET"):
        assert re.search(rf"\$\{{{name}:\?[^}}]+\}}", text), f"{name} must come from the environment"


def test_services_run_commands_that_exist():
    for service in COMPOSE["services"].values():
        program, *words = service.get("command", [""])
        if program == "plumbline":
            assert refuses(words) is None


@pytest.mark.parametrize(
    "path", [*GUIDES, ROOT / "docker-compose.yml", ROOT / "Dockerfile"], ids=lambda path: path.name
)
def test_settings_that_are_named_exist(path):
    named = set(re.findall(r"PLUMBLINE_[A-Z_]+", path.read_text()))
    assert named <= SETTINGS | ELSEWHERE


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_commands_that_are_named_exist(path):
    called = r"(?:^ *|`|exec \w+ )(?:\.venv/bin/)?plumbline ((?:[a-z-]+ ?)+[^`\n#|]*)"
    lines = re.findall(called, path.read_text(), re.M)
    for line in lines:
        words = line.split("...")[0].split()
        assert refuses(words) is None, f"plumbline {line}: {refuses(words)}"


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    prose = re.sub(r"`[^`\n]*`", "", path.read_text())
    for target in re.findall(r"\]\(([^)#:]+)\)", prose):
        assert (path.parent / target).exists(), target


def test_folders_of_the_readme_exist():
    tree = (ROOT / "README.md").read_text().split("## Where things are")[1].split("```")[1]
    parent = ROOT
    for line in filter(None, tree.splitlines()):
        for name in re.findall(r"([\w]+)/(?= )", line.partition("   ")[0] + " "):
            place = parent / name if line.startswith("  ") else ROOT / name
            assert place.is_dir(), place
            parent = place if not line.startswith("  ") else parent
