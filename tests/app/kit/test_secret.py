"""The secret key: one for all processes, on disk before it is used, and none that can be guessed."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.config import ROOT, Settings
from app.kit import secret
from app.kit.secret import WeakSecret
from app.launch import doctor
from tests.conftest import forget_settings

GOOD = "4f" + "0123456789abcdef" * 2
WEAK = ["", " ", "x", "x" * 31, "x" * 64, "ab" * 32, " " * 40, GOOD[:31], "\n" + GOOD[:31] + "\n"]


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch, broker_url):
    monkeypatch.setenv("PLUMBLINE_BROKER_URL", broker_url)
    monkeypatch.setenv("PLUMBLINE_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("PLUMBLINE_SECRET", raising=False)
    forget_settings()
    yield tmp_path
    forget_settings()


def test_it_is_made_once_for_its_owner_alone(data):
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: Settings().key, range(32)))
    assert len(keys) == 1 and len(keys.pop()) == 64
    assert [path.name for path in data.iterdir()] == ["secret"]
    assert (data / "secret").stat().st_mode & 0o777 == 0o600


def test_it_is_on_the_disk_before_it_has_its_name(data, monkeypatch):
    synced, sync = [], os.fsync
    monkeypatch.setattr(secret.os, "fsync", lambda number: (synced.append((data / "secret").exists()), sync(number)))
    assert Settings().key
    assert synced == [False, True]  # the file, then the folder that names it


@pytest.mark.parametrize("content", [*(weak.encode() for weak in WEAK), b"\0" * 64, b"\xff" * 64, b"\0" * 4096])
def test_a_file_without_a_key_is_refused_and_left_alone(data, content):
    (data / "secret").write_bytes(content)
    with pytest.raises(WeakSecret, match=rf"{re.escape(str(data / 'secret'))}.*remove it"):
        _ = Settings().key
    assert (data / "secret").read_bytes() == content


@pytest.mark.parametrize("weak", [weak for weak in WEAK if weak])
def test_a_weak_one_in_the_environment_is_refused_with_the_next_step(monkeypatch, weak):
    monkeypatch.setenv("PLUMBLINE_SECRET", weak)
    with pytest.raises(WeakSecret, match=r"PLUMBLINE_SECRET.*openssl rand -hex 32.*pseudonyms"):
        _ = Settings().key


@pytest.mark.parametrize("good", [GOOD, "correct horse battery staple plumbline"])
def test_a_long_one_is_taken_as_it_is(monkeypatch, good):
    monkeypatch.setenv("PLUMBLINE_SECRET", good)
    assert Settings().key == good.encode()


@pytest.mark.parametrize("words", [["run"], ["web"], ["worker"], ["account", "first-run-code"]])
def test_nothing_starts_with_a_weak_one(data, words):
    environment = {**os.environ, "PLUMBLINE_SECRET": "x", "PLUMBLINE_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", *words], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    (line,) = [line for line in done.stderr.splitlines() if "openssl" in line]
    assert done.returncode == 1 and line.startswith("plumbline: the secret in PLUMBLINE_SECRET")


def test_doctor_looks_at_it(data):
    (data / "secret").write_text("")
    (found,) = [check for check in doctor.examine() if check["check"] == "secret"]
    assert not found["ok"] and "0 bytes" in found["detail"]
