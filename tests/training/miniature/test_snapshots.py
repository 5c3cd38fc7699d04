"""Snapshots of the miniature world written from the shell."""

import hashlib

import pytest

from training.contract import records
from training.contract.records import COMPARISONS, DEMONSTRATIONS, FILES, PROMPTS, Manifest, Pool, Purpose, Split
from training.miniature.__main__ import main
from training.miniature.rubric import judge
from training.miniature.world import split

SIZES = ["--demonstrations", "40", "--comparisons", "60", "--prompts", "50"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("snapshots")
    assert main([str(folder), "--seed", "3", *SIZES]) == 0
    return folder


def test_manifests_list_the_files_with_the_hashes_of_their_bytes(folder):
    for purpose in Purpose:
        manifest = Manifest.model_validate_json((folder / purpose / "manifest.json").read_bytes())
        assert [file.name for file in manifest.files] == list(FILES[purpose])
        for file in manifest.files:
            data = (folder / purpose / file.name).read_bytes()
            assert file.sha256 == hashlib.sha256(data).hexdigest()
            assert file.lines == data.count(b"\n")
        listing = "".join(f"{file.name} {file.sha256}\n" for file in manifest.files).encode()
        assert manifest.content_sha256 == hashlib.sha256(listing).hexdigest()


def test_the_same_seed_freezes_into_the_same_bytes_and_another_does_not(folder, tmp_path):
    def digests(root):
        return [Manifest.model_validate_json((root / p / "manifest.json").read_bytes()).content_sha256 for p in Purpose]

    main([str(tmp_path / "same"), "--seed", "3", *SIZES])
    main([str(tmp_path / "other"), "--seed", "4", *SIZES])
    assert digests(tmp_path / "same") == digests(folder)
    assert not set(digests(tmp_path / "other")) & set(digests(folder))


def test_lines_read_back_with_splits_of_their_prompts(folder):
    demonstrations = list(records.read(folder / "sft" / DEMONSTRATIONS, records.DemonstrationRecord))
    prompts = list(records.read(folder / "ppo" / PROMPTS, records.PromptRecord))
    assert sum(record.split == Split.TRAIN for record in demonstrations) == 40
    assert sum(record.split == Split.TRAIN for record in prompts) == 50
    assert all(record.split == split(record.prompt[0].text) != Split.TEST for record in demonstrations + prompts)
    assert all(judge(record.prompt[0].text, record.completion).solved for record in demonstrations)


def test_comparisons_follow_the_rubric_with_some_noise(folder):
    comparisons = list(records.read(folder / "rm" / COMPARISONS, records.ComparisonRecord))
    right = wrong = 0
    for comparison in comparisons:
        assert comparison.pool == Pool.TRAIN
        assert len({completion.text for completion in comparison.completions}) == len(comparison.completions)
        utility = [judge(comparison.prompt[0].text, completion.text).utility for completion in comparison.completions]
        for chosen, rejected in comparison.pairs():
            right += utility[chosen] > utility[rejected]
            wrong += utility[chosen] < utility[rejected]
    assert 0.75 < right / (right + wrong) < 0.98


def test_a_snapshot_is_never_written_over(folder, capsys):
    assert main([str(folder), *SIZES]) == 1
    assert "exists already" in capsys.readouterr().err


def test_a_snapshot_must_hold_the_files_of_its_purpose(tmp_path):
    with pytest.raises(ValueError, match=r"comparisons\.jsonl"):
        records.write_snapshot(tmp_path / "rm", Purpose.RM, {DEMONSTRATIONS: []})
    assert not (tmp_path / "rm").exists()
