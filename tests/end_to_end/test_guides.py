"""Every example of the guides is typed, as a reader would, on one running server; what cannot be is listed with why."""

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import torch
from transformers import AutoModelForCausalLM

from app.accounts.tables import Scope
from app.config import ROOT
from tests.chat_server import chat_server
from tests.conftest import PASSWORD
from tests.end_to_end.test_run import PLUMBLINE, Run, eventually, free_port, run  # noqa: F401 -- a fixture
from tests.guides import GUIDES, Block, blocks
from tests.training.conftest import families

LACKS = not sys.platform.startswith("linux") or not shutil.which("curl")
pytestmark = pytest.mark.skipif(LACKS, reason="types curl, and looks at processes in /proc")
SEPARATE = ("benchmarks.md", "experiments.md", "training-correctness.md")  # dated logs, and lists of tests
# Which guide is read before which; the others come last.
ORDER = ("import.md", "networks.md", "conversations.md", "rounds.md", "rest-labeling.md", "held-out.md")
TYPED = ("sh", "", "python")  # the languages of blocks; one without a language is typed into a shell
SERVES = "training.serve_policy"
NOT_TYPED = {  # how a line or block begins: why it is not typed here
    "make ": "this starts what `make run` starts, and is a part of `make test`",
    "PLUMBLINE_HOST=0.0.0.0": "as make; tests/end_to_end/test_run.py starts it with other settings",
    "docker ": "Docker",
    "sudo ": "Docker",
    "cat > .env": "Docker",
    "plumbline simulate": "minutes long; test_simulate.py types it",
    "plumbline backup": "tests/app/launch/test_backup.py",
    "PLUMBLINE_DATA_DIR=/srv/restored": "tests/app/launch/test_backup.py",
    "plumbline job create": "trains for minutes; tests/app/test_guides.py parses it",
    "plumbline job show": "of a job that is not typed",
    "python -m training.cross_validate": "trains for minutes; tests/app/test_guides.py parses it",
    "python -m training.sample_completions CONFIG": "a server of vLLM",
    "vllm serve": "a server of vLLM",
    "from datasets import": "a package of its own; tests/app/snapshots/test_exports.py reads the files",
    "body = AutoModel": "a piece of a program",
    "GET ": "a list of requests, which tests/app/test_guides.py holds",
    "POST ": "a list of requests, which tests/app/test_guides.py holds",
    "PUT ": "a list of requests, which tests/app/test_guides.py holds",
    "DELETE ": "a list of requests, which tests/app/test_guides.py holds",
}
# Loading the command line takes seconds each time, so one process has loaded it and forks for each that is typed.
ANSWERS = """
import json, os, signal, socket, sys, traceback
from app import cli
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
while True:
    asking, _ = listener.accept()
    said, files, _, _ = socket.recv_fds(asking, 1 << 20, 3)
    if os.fork() == 0:
        words, folder, environment = json.loads(said)
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["plumbline", *words]
        status = 1
        try:
            cli.main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            asking.send(bytes([status]))
            os._exit(0)
    for file in files:
        os.close(file)
    asking.close()
"""
ASKS = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect("{socket}")
    socket.send_fds(server, [json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()], [0, 1, 2])
    sys.exit(server.recv(1)[0])
"""
NEEDS = {  # what a line prints that later ones name
    r"plumbline export freeze": "SNAPSHOT",
    r"plumbline round create": "NUMBER",
    r"plumbline checkpoint add": "CHECKPOINT",
}


def statements(block: Block) -> list[str]:
    """What is typed at once: a line, or several where a quotation or a `<<END` goes over them; a whole program."""
    if block.language == "python":
        return [block.text]
    found, open_ = [], ""
    for line in block.text.splitlines():
        open_ += re.sub(r"(^| +)# .*| {2,}#.*", "", line) + "\n"
        if "<<END" in open_ and line != "END":
            continue
        with suppress(ValueError):
            shlex.split(open_ if "<<END" not in open_ else "")
            found.append(open_.strip())
            open_ = ""
    assert not open_, f"a quotation has no end: {open_}"
    return [one.removeprefix(".venv/bin/") for one in found if one]


class Reader:
    """Types examples in a shell of their own folder, with what they made in the place of placeholders."""

    def __init__(self, server: Run, home: Path, values: dict[str, str]):
        self.server, self.home, self.here, self.values = server, home, home, values
        (home / "bin").mkdir()
        for name, program in (
            ("python", f'#!/bin/sh\nexec {sys.executable} "$@"\n'),
            ("plumbline", f"#!{sys.executable} -IS\n{ASKS.format(socket=str(home / 'cli'))}"),
        ):
            (home / "bin" / name).write_text(program)
            (home / "bin" / name).chmod(0o755)
        self.environment = server.environment | {
            "HOME": str(home),
            "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "URL": server.url,
            "TOKEN": values["ADMIN_TOKEN"],
            "PLUMBLINE_PASSWORD": PASSWORD,
        }

    def filled_in(self, said: str) -> str:
        """An example with this installation's addresses, ids, files and tokens."""
        for placeholder, value in self.values.items():
            said = re.sub(rf"(?<![\w-]){re.escape(placeholder)}(?![\w-])", lambda _, value=value: value, said)
        return said.replace("curl ", "curl -sS --fail-with-body ")

    def type(self, said: str, language: str = "") -> str:
        """Run it; returns what it prints."""
        if moved := re.fullmatch(r"cd ~/(.*)", said):
            self.here = self.home / moved[1]
            return ""
        program = ["python", "-c"] if language == "python" else ["bash", "-euc"]
        done = subprocess.run(
            [*program, self.filled_in(said)],
            cwd=self.here,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{self.filled_in(said)}\n{done.stdout[-500:]}{done.stderr[-1500:]}"
        for begins, name in NEEDS.items():
            if re.match(begins, said):
                self.values[name] = re.search(r"\d+" if name == "NUMBER" else r"\w{16}", done.stdout)[0]
        return done.stdout


def prepare_files(home: Path) -> None:
    """What the guide's reader has: the rows that docs/import.md shows, and two models' answers to two instructions."""
    data, ours = home / "data", home / "data" / "user_oriented"
    ours.mkdir(parents=True)
    (data / "hh_harmless").mkdir()
    guide = blocks(ROOT / "docs" / "import.md")
    rows = {block.language.split()[1]: block.text for block in guide if "jsonl " in block.language}
    answers = [json.loads(line) for line in rows["completions"].splitlines()]
    for place in (data, ours):
        for model in "ab":
            told = [
                {**one, "policy": model, next(k for k in one if k in TEXTS): f"{number} by {model}"}
                for number, one in enumerate(answers)
                if "messages" not in one
            ]
            (place / f"answers-of-{model}.jsonl").write_text("\n".join(map(json.dumps, told)))
        (place / "pairs.jsonl").write_text(rows["pairs"])
    (data / "instructions.jsonl").write_text(rows["prompts"])
    asked = [{"motivation_app": app, "instruction": f"Write a note for {app}."} for app in ("Mail", "Maps")]
    (ours / "instructions.jsonl").write_text("\n".join(map(json.dumps, asked)))
    for model in ("davinci", "text-davinci"):
        told = [{"instruction": one["instruction"], "output": f"A note by {model}."} for one in asked]
        (ours / f"{model}.jsonl").write_text("\n".join(map(json.dumps, told)))
    with gzip.open(data / "hh_harmless" / "test.jsonl.gz", "wt") as file:
        file.write(rows["hh"])


TEXTS = ("completion", "response", "output")


@pytest.fixture
def reader(run, tmp_path) -> Iterator[Reader]:  # noqa: F811
    """A reader of the guides beside a running installation without the demo."""
    home = tmp_path / "home"
    prepare_files(home)
    config, tokenizer = families()["llama"]
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "network")
    tokenizer.save_pretrained(tmp_path / "network")
    run.environment["PLUMBLINE_ARGON2_MEMORY_KIB"] = "64"
    run.start()
    made = Reader(run, home, {"ADMIN_TOKEN": ""})
    commands = subprocess.Popen([sys.executable, "-c", ANSWERS, str(home / "cli")], cwd=ROOT, env=run.environment)
    eventually((home / "cli").exists)
    for name, role in (("olga", "admin"), ("ana", "labeler"), ("ben", "labeler")):
        made.type(f"plumbline account create {name} --role {role}")
    port = free_port()
    made.values = {
        "http://127.0.0.1:8000": run.url,
        "https://plumbline.example.org": run.url,
        "http://127.0.0.1:8001/v1": f"http://127.0.0.1:{port}/v1",
        "port=8001": f"port={port}",
        "plumb_admin...": "",
        "plumb_...": made.type("plumbline token create ana").strip(),
        "/models/mine": str(tmp_path / "network"),
        "/path/of/a/network": str(tmp_path / "network"),
        "[--json]": "--json",
    }
    yield made
    commands.kill()
    commands.wait()


def make_admin_token(reader: Reader) -> None:
    """A token of olga's that may do all but label; a guide that sets her password ends those she had."""
    scopes = " ".join(f"--scope {scope}" for scope in Scope if scope is not Scope.WORK)
    token = reader.type(f"plumbline token create olga {scopes}").strip()
    reader.environment["TOKEN"] = reader.values["plumb_admin..."] = token


@contextmanager
def served(reader: Reader, said: str) -> Iterator[None]:
    """Serve a policy as it is typed, until the guides are read; returns when it answers."""
    with subprocess.Popen(
        shlex.split(reader.filled_in(said)), cwd=reader.home, env=reader.environment, stdout=subprocess.DEVNULL
    ) as process:
        try:
            address = reader.values["http://127.0.0.1:8001/v1"].removesuffix("/v1") + "/health"

            def answers() -> bool:
                """the served policy answers"""
                with suppress(httpx.HTTPError):
                    return httpx.get(address).status_code == 200

            eventually(answers, 120)
            yield
        finally:
            process.terminate()


def api(reader: Reader, method: str, path: str, token: str, **sent) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} | sent.pop("headers", {})
    return httpx.request(method, f"{reader.server.url}/api/v1{path}", headers=headers, timeout=60, **sent)


def every_statement(path: Path) -> list[tuple[Block, str]]:
    """What a guide lets its reader type, with the block that it stands in."""
    return [(block, said) for block in blocks(path) if block.language in TYPED for said in statements(block)]


def begin(reader: Reader, guide: str, servers: ExitStack) -> None:
    """Make what a guide takes for granted."""
    make_admin_token(reader)
    admin = reader.environment["TOKEN"]
    if guide == "conversations.md":
        (serves,) = (said for _block, said in every_statement(ROOT / "docs" / guide) if SERVES in said)
        servers.enter_context(served(reader, serves))  # the guide adds it as an endpoint before it says how to start it
        chat = servers.enter_context(chat_server())
        for name in ("my policy", "other"):
            reader.type(f"plumbline policy add '{name}' --url {chat.url}")
        reader.type('echo \'{"prompt": "Is the Earth a ball?"}\' > q.jsonl')
        reader.type("plumbline import prompts q.jsonl --collection questions")
    if guide == "rounds.md":
        reader.type("plumbline round create Third --demonstrations 0 --collection questions --open")
        newest = api(reader, "GET", "/rounds", admin).json()["items"][0]
        assert newest["number"] >= 3
        reader.values["ROUND_ID"] = newest["id"]
    if guide == "rest-labeling.md":
        try_the_days_answers(reader)
    if guide == "held-out.md":
        work_on_after_a_change(reader)
        first = api(reader, "GET", "/rounds?limit=500", admin).json()["items"][-1]
        assert first["name"] == "First look"
        reader.type(f"plumbline round close {first['number']} --yes")


def fits(example: object, real: object) -> bool:
    """Whether every field of an example is one of the real answer."""
    if isinstance(example, dict):
        return isinstance(real, dict) and all(key in real and fits(value, real[key]) for key, value in example.items())
    return not isinstance(example, list) or not example or fits(example[0], real[0])


def try_the_days_answers(reader: Reader) -> None:
    """The JSON of a labeler's day: what is shown is what comes, and what is sent is taken as it stands."""
    ben = reader.type("plumbline token create ben").strip()
    day = [block for block in blocks(ROOT / "docs" / "rest-labeling.md") if block.language == "json"]
    shown, sent, _conversation, answer, kept = (json.loads(block.text) for block in day)
    work = api(reader, "POST", "/assignments/next", ben, json={"round": 1}).json()
    assert fits(shown, work), work
    path = f"/assignments/{work['id']}"
    draft = {"content": {"completions": sent["completions"]}, "active_seconds": 12.0}
    assert fits(kept, api(reader, "POST", f"{path}/draft", ben, json=draft, headers={"If-Match": '"0"'}).json())
    done = api(reader, "POST", f"{path}/submit", ben, json=sent | {"fence": work["fence"]})
    assert done.status_code == 200 and fits(answer, done.json()), done.text


def work_on_after_a_change(reader: Reader) -> None:
    """The day ends with nothing left, and goes on where the guideline has changed meanwhile."""
    admin, ana = reader.environment["TOKEN"], reader.values["plumb_..."]
    assert api(reader, "POST", "/assignments/next", ana).status_code == 204
    changed = {
        "name": "training",
        "title": "How to label",
        "body": "Read the end too.",
        "what_changed": "Read the end.",
    }
    assert api(reader, "POST", "/guidelines", admin, json=changed).status_code == 201
    reader.type("plumbline round create Fourth --demonstrations 1 --collection mine --open")
    assert api(reader, "POST", "/assignments/next", ana).status_code == 409
    (day,) = (block for block in blocks(ROOT / "docs" / "rest-labeling.md") if block.language == "python")
    assert "Read the end" in reader.type(day.text, "python")
    assert api(reader, "POST", "/assignments/next", ana).status_code == 204


def test_every_example_of_the_guides_does_what_it_says(reader):
    guides = sorted(
        (path for path in GUIDES if path.name not in SEPARATE),
        key=lambda path: ORDER.index(path.name) if path.name in ORDER else len(ORDER),
    )
    typed, needed, failed = [], set(), []
    with ExitStack() as servers:
        for path in guides:
            begin(reader, path.name, servers)
            before = set(typed)
            for block, said in every_statement(path):
                excepted = {begins for begins in NOT_TYPED if said.startswith(begins)}
                needed |= excepted
                if excepted or said in before:  # which an earlier guide says too
                    continue
                typed.append(said)
                try:
                    if SERVES not in said:
                        reader.type(said, block.language)
                except (AssertionError, subprocess.TimeoutExpired) as error:
                    failed.append(f"{path.name}:{block.line}: {error}")
    print(f"{len(typed)} examples typed")
    assert not failed, "\n\n".join(failed)
    assert len(typed) > 35
    assert needed == set(NOT_TYPED), "an exception that no guide needs any more"
