"""What may change between a run's start and its resumption, and what a failing disk may tear, in fresh processes."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch

from tests.training.run.verbs import assert_same_weights, command, finish, reported, sft_settings, start, wait_for_step
from training.contract.configs import free_keys
from training.contract.recipes import CONFIGS, make_config
from training.contract.records import DEMONSTRATIONS
from training.run.command import run_verb
from training.run.inputs import check_inputs
from training.run.run_folder import RunFolder
from training.run.selection import ROWS, Epochs

FEW = {"epochs": 2}  # 16 steps, an epoch measured after 8


def warnings(run_folder: Path) -> list[str]:
    return [event.message for event in reported(run_folder) if event.kind == "warning"]


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture(scope="module")
def unbroken(miniature, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    code, errors = finish(command("train_sft", "miniature_sft", folder, *sft_settings(miniature, **FEW)))
    assert code == 0, errors
    return folder


@pytest.fixture(scope="module")
def begun(miniature, tmp_path_factory) -> Path:
    """Return the run folder of the same run, stopped after its first epoch."""
    folder = tmp_path_factory.mktemp("begun")
    process = start(command("train_sft", "miniature_sft", folder, *sft_settings(miniature, **FEW)))
    wait_for_step(process, folder, 9)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    return folder


@pytest.fixture
def stopped(begun, tmp_path) -> Path:
    """Copy that run folder, to be torn or resumed."""
    return shutil.copytree(begun, tmp_path / "run")


def resume(run_folder: Path, *settings: str) -> None:
    code, errors = finish(command("train_sft", str(run_folder / "config.json"), run_folder, "--resume", *settings))
    assert code == 0, errors


def refused(run_folder: Path, capsys, *settings: str) -> str:
    """Return the sentence that refuses to resume the run."""
    arguments = [str(run_folder / "config.json"), "--run-folder", str(run_folder), "--resume"]
    before = (run_folder / "events.jsonl").read_bytes(), (run_folder / "config.json").read_bytes()
    assert run_verb("train_sft", [*arguments, *settings]) == 2
    assert before == ((run_folder / "events.jsonl").read_bytes(), (run_folder / "config.json").read_bytes())
    return capsys.readouterr().err


def test_torn_files_are_passed_over_and_the_run_ends_with_the_same_bits(unbroken, stopped):
    """The newest state and report.json are cut short, lines of events.jsonl are garbage within and at its end."""
    step = torch.load(stopped / "state" / "state.before.pt", weights_only=True)["step"]
    assert torch.load(stopped / "state" / "state.pt", weights_only=True)["step"] == step + 1
    halve(stopped / "state" / "state.pt")
    halve(stopped / "report.json")
    lines = (stopped / "events.jsonl").read_bytes().splitlines(keepends=True)
    lines[3:3] = [b"\x00" * 80 + b"\n", lines[2][:20] + b"\n"]
    (stopped / "events.jsonl").write_bytes(b"".join(lines) + b'{"at": "2026')
    resume(stopped)
    found = (stopped / "events.jsonl").read_bytes().split(b"\n")
    assert found[3].startswith(b"\x00") and not any(b'"2026{' in line for line in found)
    for torn in found[3], found[4]:  # the tests' readers cannot parse them
        (stopped / "events.jsonl").write_bytes((stopped / "events.jsonl").read_bytes().replace(torn + b"\n", b"", 1))
    told = warnings(stopped)
    assert "events.jsonl: 3 torn lines cannot be read and are skipped" in told
    assert (
        f"{stopped / 'state' / 'state.pt'}: cannot be read; the run continues from state.before.pt, which is older"
        in told
    )
    assert f"{stopped / 'report.json'}: cannot be read; its epochs are taken from state/epochs.pt" in told
    assert [event.resumed_from_step for event in reported(stopped) if event.kind == "started"] == [0, step]
    assert_same_weights(stopped, unbroken)
    assert (stopped / "report.json").read_bytes() == (unbroken / "report.json").read_bytes()
    assert [path.name for path in (stopped / "state").iterdir()] == ["state.pt"]  # a finished run keeps no older one


def test_a_run_without_a_whole_state_says_so(stopped):
    for path in (stopped / "state").glob("state*.pt"):
        halve(path)
    code, errors = finish(command("train_sft", str(stopped / "config.json"), stopped, "--resume"))
    assert code == 1 and "Traceback" not in errors
    message = reported(stopped)[-1].message
    assert message.startswith(
        f"{stopped / 'state' / 'state.pt'}: cannot be read, nor can the one before it; start a new"
    )


def test_inputs_that_moved_are_taken_where_they_hold_the_same(miniature, unbroken, stopped, tmp_path):
    data, network = (shutil.copytree(miniature / name, tmp_path / f"moved-{name}") for name in ("sft", "base"))
    values = {"data": data, "init_from": network, "save_every_seconds": 5, "gradient_checkpointing": "true"}
    resume(stopped, *[argument for key, value in values.items() for argument in ("--set", f"{key}={value}")])
    told = warnings(stopped)
    assert f"data: {data} now, {miniature / 'sft'} before; it holds the same" in told
    assert f"init_from: {network} now, {miniature / 'base'} before; it holds the same" in told
    assert "save_every_seconds: 5.0 now, 0.0 before; it changes no numbers" in told
    assert "gradient_checkpointing: True now, False before; it changes no numbers" in told
    config, inputs = (json.loads((stopped / name).read_text()) for name in ("config.json", "inputs.json"))
    assert (config["data"], config["save_every_seconds"]) == (str(data), 5)
    assert {key: one["path"] for key, one in inputs.items()} == {"data": str(data), "init_from": str(network)}
    assert_same_weights(stopped, unbroken)


def test_what_dropout_draws_is_said_to_change_with_the_micro_batches(stopped):
    resume(stopped, "--set", "micro_batch_tokens=512")
    assert (
        "micro_batch_tokens: 512 now, 8192 before; it changes no numbers, but for which activations dropout draws"
        in warnings(stopped)
    )


def test_keys_that_change_numbers_are_refused_with_what_they_would_change(stopped, capsys):
    said = refused(stopped, capsys, "--set", "learning_rate=0.5")
    assert "learning_rate: 0.5 here, but the run began with 0.0" in said and "(the peak)" in said
    assert f"resume it with its own {stopped / 'config.json'}, or start a new run in another folder" in said
    assert "(text file, or a base network's pretraining.txt)" in refused(
        stopped, capsys, "--set", f"pretraining_text={stopped / 'config.json'}"
    )


def test_inputs_that_changed_are_refused(miniature, stopped, capsys, tmp_path):
    data, network = (shutil.copytree(miniature / name, tmp_path / f"changed-{name}") for name in ("sft", "base"))
    (data / "manifest.json").unlink()
    (data / DEMONSTRATIONS).write_text((data / DEMONSTRATIONS).read_text().replace("a", "b", 1))
    said = refused(stopped, capsys, "--set", f"data={data}")
    assert f"data: {data / DEMONSTRATIONS} is not what the run began with (at {miniature / 'sft'})" in said
    tokenizer = network / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    said = refused(stopped, capsys, "--set", f"init_from={network}")
    assert f"init_from: {tokenizer} is not what the run began with" in said
    config = json.loads((stopped / "config.json").read_text())
    (stopped / "config.json").write_text(json.dumps({**config, "init_from": str(network)}))  # as jobs do
    assert said == refused(stopped, capsys)
    said = refused(stopped, capsys, "--set", f"init_from={tmp_path / 'away'}")
    assert f"init_from: {tmp_path / 'away'} is not there" in said and "name its new place" in said


def test_a_text_file_that_changed_is_refused(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("one\n\ntwo")
    config = make_config("train_base", {"recipe": "miniature_base", "text": text})
    with RunFolder(tmp_path / "run") as run_folder:
        check_inputs(config, run_folder)
        moved = config.model_copy(update={"text": text.rename(tmp_path / "moved.txt")})
        check_inputs(moved, run_folder)
        (tmp_path / "moved.txt").write_text("one\n\nthree")
        with pytest.raises(ValueError, match=r"text: .*moved.txt is not what the run began with"):
            check_inputs(moved, run_folder)


def test_a_copy_of_a_snapshot_that_was_cut_short_is_refused_before_anything_is_trained(miniature, tmp_path, capsys):
    data = shutil.copytree(miniature / "sft", tmp_path / "data")
    whole = (data / DEMONSTRATIONS).read_text().splitlines(keepends=True)
    arguments = ["miniature_sft", "--run-folder", str(tmp_path / "run"), *sft_settings(miniature, data=data)]
    (data / DEMONSTRATIONS).write_text("".join(whole[:-1]))
    assert run_verb("train_sft", arguments) == 2
    assert f"data: {data / DEMONSTRATIONS} is not what its manifest lists" in capsys.readouterr().err
    (data / DEMONSTRATIONS).unlink()
    assert run_verb("train_sft", arguments) == 2
    assert f"data: {data} lacks {DEMONSTRATIONS}, which its manifest lists" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.json").exists()


def test_every_key_says_what_it_is_and_those_that_change_no_numbers_are_these():
    for verb, config in CONFIGS.items():
        assert not [key for key, field in config.model_fields.items() if not field.description], verb
    memory = {"recipe", "micro_batch_tokens", "save_every_seconds", "gradient_checkpointing", "sharded"}
    assert free_keys(CONFIGS["train_sft"]) == free_keys(CONFIGS["train_dpo"]) == memory
    assert free_keys(CONFIGS["train_ppo"]) == memory - {"save_every_seconds"} | {
        "rows_at_once", "save_every_iterations", "sample_every_iterations", "allow_weak_reward_model",
    }  # fmt: skip


def test_weights_of_a_best_epoch_that_are_torn_are_noticed_at_the_start(tmp_path):
    with RunFolder(tmp_path) as run_folder:
        epochs = Epochs(run_folder)
        for step, score in ((8, 2.0), (16, 1.0)):
            row = {"step": step, "epoch": step // 8, "score": score, "validation_loss_nats": 1 / step}
            epochs.add(row, lambda step=step: {"weights": torch.full((1000,), float(step))})
        Epochs(run_folder).check()
        (tmp_path / "report.json").write_text('{"epochs": [{"st')
        again = Epochs(run_folder)
        assert (again.rows, again.best) == (epochs.rows, {"score": 8, "validation_loss_nats": 16})
        halve(tmp_path / "state" / "epoch-ended-at-8.pt")
        with pytest.raises(ValueError, match=r"epoch-ended-at-8.pt: cannot be read, and there is none before it"):
            again.check()
        halve(tmp_path / "state" / f"{ROWS}.pt")
        with pytest.raises(
            ValueError, match=r"epochs.pt: cannot be read, and there is none before it; start a new run"
        ):
            Epochs(run_folder)
