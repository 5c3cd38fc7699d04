"""Imports that the rooms do not allow are named by `make lint`, in modules that no list names."""

import shutil
import subprocess
import sys

from app.config import ROOT

PLANTED = {
    "app/onboarding/screening.py": "fastapi",
    "app/prompts/similar.py": "app.plans.rules",
    "app/kit/text.py": "app.rounds.tables",
    "app/plans/pages.py": "app.jobs.pages",
    "app/rounds/queries.py": "app.rounds.rules",
    "app/rounds/schemas.py": "app.rounds.rules",
    "app/comparisons/pairs.py": "app.web.auth",
    "app/web/markdown.py": "app.prompts.queries",
    "app/jobs/charts.py": "torch",
    "app/checkpoints/sampling.py": "training.text.policy",
    "training/ppo/math.py": "app.config",
}


def test_each_import_that_is_not_allowed_is_named(tmp_path):
    """One copy of the code with all of them, since reading it takes the time."""
    for folder in ("app", "training"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "import_contracts.py", tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "app" / "newcomer").mkdir()
    (tmp_path / "app" / "newcomer" / "__init__.py").touch()
    (tmp_path / "app" / "newcomer" / "rules.py").touch()
    for file, module in PLANTED.items():
        with (tmp_path / file).open("a") as code:
            code.write(f"\nimport {module}\n")
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as run; run()"
    run = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1, run.stdout + run.stderr
    said = " ".join(run.stdout.split())
    assert ": a cycle" in said, "app.prompts, which app.plans imports, imports it"
    for file, module in PLANTED.items():
        assert f"{file.removesuffix('.py').replace('/', '.')} -> {module}" in said, (file, module, run.stdout)
    assert "app.newcomer is no feature that is listed" in said
