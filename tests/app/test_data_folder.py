"""Who may read what Plumbline writes: its own user alone, in a new folder and in one that was open to all."""

import os
import subprocess
import sys

import pytest

from app.config import ROOT, Settings
from app.launch import doctor
from tests.conftest import forget_settings


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch, broker_url):
    monkeypatch.setenv("PLUMBLINE_BROKER_URL", broker_url)
    monkeypatch.setenv("PLUMBLINE_DATA_DIR", str(tmp_path / "data"))
    for name in ("PLUMBLINE_SECRET", "PLUMBLINE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    forget_settings()
    yield tmp_path / "data"
    forget_settings()


def mode(path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize("before", [None, "empty", "used"])
def test_the_data_folder_and_all_in_it_is_for_its_user_alone(data, before):
    if before:
        data.mkdir(mode=0o755)
    if before == "used":
        (data / "plumbline.db").touch(mode=0o644)
    environment = {**os.environ, "PLUMBLINE_PASSWORD": "four unrelated words"}
    for words in (["migrate"], ["account", "create", "olga"], ["account", "first-run-code"]):
        command = f"umask 022 && exec {sys.executable} -m app.cli {' '.join(words)}"
        subprocess.run(command, shell=True, env=environment, cwd=ROOT, check=True, capture_output=True, timeout=60)
    assert mode(data) == 0o700
    written = {path.name: mode(path) for path in data.rglob("*") if "plumbline.db" not in path.name or not before}
    assert "secret" in written and not {name for name, bits in written.items() if bits & 0o077}


@pytest.mark.parametrize(("bits", "file"), [(0o1777, "secret"), (0o755, "something of others")])
def test_a_folder_that_others_use_stays_as_it_is_and_doctor_says_so(data, bits, file):
    data.mkdir()
    (data / file).touch()
    data.chmod(bits)
    Settings().make_data_dir()
    assert mode(data) == bits
    (found,) = [check for check in doctor.examine() if check["check"] == "data folder"]
    assert not found["ok"] and f"chmod 700 {data}" in found["detail"]
