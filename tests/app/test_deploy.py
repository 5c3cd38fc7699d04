"""docker-compose.yml gives every service what it needs, and the guide says the same."""

import ast
import re
import sys
import tomllib
from importlib import metadata

import yaml

from app.config import ROOT, Settings
from tests.guides import refuses

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
COME_WITH = {"anyio", "kombu", "markupsafe", "pydantic-core", "starlette"}  # what we ask for brings them
SETTINGS = {f"PLUMBLINE_{name.upper()}" for name in Settings.model_fields}
OURS = {name: one for name, one in COMPOSE["services"].items() if one["image"].startswith("plumbline-")}


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
    for service in OURS.values():
        program, *words = service["command"]
        assert program == "plumbline" and refuses(words, whole=True) is None


def test_every_setting_reaches_every_service():
    assert len(OURS) == 6
    for name, service in OURS.items():
        # The environment of a service stands over its env_file.
        assert service["env_file"] == [{"path": ".env", "required": False}], name
        own = dict(service["environment"])
        assert own.pop("POSTGRES_PASSWORD") == "", f"{name}: no child of it is to know the password"
        assert set(own) <= SETTINGS, name
        fixed = {key for key, value in own.items() if f"${{{key}" not in str(value)} - {"PLUMBLINE_DATABASE_URL"}
        assert fixed <= {f"PLUMBLINE_{one}" for one in ("BROKER_URL", "HOST", "PORT", "DATA_DIR", "SAMPLER_HOST")}


def test_every_training_worker_has_a_card_of_its_own():
    cards = [
        card
        for name, service in COMPOSE["services"].items()
        if name.startswith("training-worker")
        for device in service["deploy"]["resources"]["reservations"]["devices"]
        for card in device["device_ids"]
    ]
    assert cards == ["0", "1"]
    guide = (ROOT / "docs" / "deploy.md").read_text()
    assert "--scale" not in guide and "COMPOSE_PROFILES=two-gpus" in guide


def test_what_the_application_imports_is_installed_with_it():
    """Not with the extras of the tests alone: `make run` and the web image install neither."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    asked = {re.split(r"[^\w.-]", one)[0].lower().replace("_", "-") for one in asked}
    own = metadata.packages_distributions()
    missing = set()
    for path in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in {one.partition(".")[0] for one in names} - {"app", "training"} - sys.stdlib_module_names:
                if not {one.lower().replace("_", "-") for one in own.get(name, [])} & (asked | COME_WITH):
                    missing.add(name)
    assert missing <= {"presidio_analyzer", "spacy"}  # the extra `pii`, which PLUMBLINE_PERSONAL_DATA asks for
