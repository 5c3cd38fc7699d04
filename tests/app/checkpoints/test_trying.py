"""A network that is brought by path is tried: at once on the command line, else by a worker or the job of it."""

import json

import pytest
import torch
from sqlalchemy import select
from typer.testing import CliRunner

from app.checkpoints import rules, tasks
from app.checkpoints.tables import Checkpoint
from app.checkpoints.trying import tried
from app.cli import cli
from app.database import reading, transaction
from app.errors import BadInput
from app.jobs.tables import JobVerb
from tests.conftest import fresh_database
from training.contract.configs import BaseConfig
from training.contract.events import Finding, NetworkTried
from training.text.policy import new_transformer, save_policy
from training.text.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A tiny network's folder."""
    folder = tmp_path_factory.mktemp("network") / "tiny"
    tokenizer = train_tokenizer(["the cat sat on the mat"] * 5, 320)
    torch.manual_seed(0)
    config = BaseConfig(hidden_size=16, intermediate_size=32, layers=2, heads=2)
    save_policy(new_transformer(config, tokenizer), tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def broken(network, tmp_path_factory):
    """The same without one of its tensors."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("network") / "broken"
    folder.mkdir()
    for path in network.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_trial_is_a_table_of_findings_or_one_sentence(network, broken):
    found = tried(network)
    assert found["refused"] is None
    assert {"weights", "end of a turn", "several sequences", "sampling", "reward model"} <= {
        one["check"] for one in found["findings"]
    }
    refused = tried(broken)
    assert "model.norm.weight" in refused["refused"] and "copy the folder again" in refused["refused"]
    assert refused["findings"] == []


@pytest.fixture(params=["sqlite"])
def sqlite(request, tmp_path, monkeypatch):
    """One database is enough where a trial takes seconds."""
    yield from fresh_database(request, tmp_path, monkeypatch)


def test_the_command_line_tries_before_anything_is_written(sqlite, network, broken):
    refused = CliRunner().invoke(cli, ["checkpoint", "add", str(broken), "--name", "Mine"])
    assert refused.exit_code != 0 and "model.norm.weight" in refused.output + str(refused.exception)
    with reading() as session:
        assert session.scalar(select(Checkpoint)) is None
    added = CliRunner().invoke(cli, ["checkpoint", "add", str(network), "--name", "Mine"])
    assert added.exit_code == 0, added.output
    with reading() as session:
        checkpoint = session.scalars(select(Checkpoint)).one()
    assert checkpoint.public_id in added.output and "several sequences" in added.output
    assert {one["verdict"] for one in checkpoint.trial["findings"]} <= {"right", "slower", "note", "refused"}


def test_a_worker_tries_what_came_over_rest_once_and_its_page_tells(client, people, network, broken):
    people.sign_in(client, people.admin())
    for folder, words in ((network, "Sequences lie side by side"), (broken, "model.norm.weight")):
        with transaction() as session:
            made = rules.register_path(session, folder, "Mine")
        assert made.trial is None
        assert "checked once a training worker is free" in client.get(f"/admin/checkpoints/{made.public_id}").text
        tasks.try_network(made.id)
        assert words in client.get(f"/admin/checkpoints/{made.public_id}").text
    with reading() as session:
        before = session.get_one(Checkpoint, made.id).trial
    tasks.try_network(made.id)
    tasks.try_network(10_000)  # a message without a row does nothing
    with reading() as session:
        assert session.get_one(Checkpoint, made.id).trial == before


def test_a_job_that_loads_a_network_notes_what_it_found(database, network):
    with transaction() as session:
        made = rules.register_path(session, network, "Mine")
        config = {"init_from": rules.reference(made), "data": str(network)}
        job = rules.create_job(session, JobVerb.TRAIN_SFT, config)
        finding = Finding(check="head", verdict="slower", said="It is slow.")
        rules.note_tried(session, job, NetworkTried(key="init_from", path="/elsewhere", findings=[finding]))
        rules.note_tried(session, job, NetworkTried(key="data", path="/elsewhere", findings=[]))  # no checkpoint
        again = Finding(check="dropout", verdict="right", said="Twice a layer.")
        rules.note_tried(session, job, NetworkTried(key="init_from", path="/elsewhere", findings=[again]))
    with reading() as session:  # what a job does not try stays as it was found before
        assert session.get_one(Checkpoint, made.id).trial == {
            "refused": None,
            "findings": [
                {"check": "dropout", "verdict": "right", "said": "Twice a layer."},
                {"check": "head", "verdict": "slower", "said": "It is slow."},
            ],
        }


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no config.json"),
        ({"adapter_config.json": {"base_model_name_or_path": "org/base"}}, "an adapter alone; merge it into org/base"),
        ({"config.json": {"quantization_config": {"quant_method": "gptq"}}}, "quantized (gptq)"),
        ({"config.json": {}}, "holds no weights"),
        ({"config.json": {}, "model.safetensors": {}}, "holds no tokenizer"),
        (
            {"config.json": {}, "model.safetensors.index.json": {"weight_map": {"a": "one", "b": "two"}}, "one": {}},
            "lacks two of 2 files",
        ),
        ({"config.json": []}, "holds no JSON object"),
    ],
)
def test_a_folder_that_cannot_be_a_network_is_refused_at_once(database, tmp_path, files, words):
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    with transaction() as session, pytest.raises(BadInput) as refused:
        rules.register_path(session, tmp_path, "Mine")
    assert words in str(refused.value) and refused.value.field == "path"
