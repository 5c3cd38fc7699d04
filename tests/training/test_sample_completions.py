"""K distinct completions of each prompt: the file's content, and the warning when there are fewer."""

import pytest
import torch

from training.contract import events
from training.contract.recipes import make_config
from training.contract.records import PROMPTS, SAMPLED_COMPLETIONS, PromptRecord, SampledCompletion, read
from training.reward.model import load_reward_model, new_reward_model, save_reward_model
from training.run.run_folder import RunFolder
from training.run.sources import seed_of
from training.sample_completions import run
from training.text.formatting import encode_prompt
from training.text.policy import forbidden_token_ids, load_policy
from training.text.sampler import sample


@pytest.fixture(scope="module")
def reward_model(miniature, tmp_path_factory):
    torch.manual_seed(2)
    model, tokenizer = new_reward_model(miniature / "base")
    model.config.score_offset = 0.25
    folder = tmp_path_factory.mktemp("reward_model")
    save_reward_model(model, tokenizer, folder)
    return folder


def sampled(miniature, folder, **values):
    config = make_config(
        "sample_completions",
        {
            "recipe": "miniature_sample",
            "data": miniature / "ppo",
            "init_from": miniature / "base",
            "temperature": 1.0,
            **values,
        },
    )
    with RunFolder(folder) as run_folder:
        run(config, run_folder)
    reported = [events.parse(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return list(read(folder / SAMPLED_COMPLETIONS, SampledCompletion)), reported


def test_each_prompt_gets_its_distinct_texts_in_the_snapshots_order(miniature, tmp_path):
    lines, reported = sampled(miniature, tmp_path, completions_per_prompt=3)
    keys = [record.prompt_key for record in read(miniature / "ppo" / PROMPTS, PromptRecord)]
    assert list(dict.fromkeys(line.prompt_key for line in lines)) == keys
    for key in keys:
        texts = [line.text for line in lines if line.prompt_key == key]
        assert len(texts) == len(set(texts)) == 3
        assert all(text.strip() for text in texts)
    assert all(line.score is None and 1 <= line.tokens <= 24 for line in lines)
    assert lines[0].settings == {"temperature": 1.0, "max_completion_tokens": 24, "seed": 0}
    kinds = [event.kind for event in reported]
    assert kinds[0] == "started" and kinds[-1] == "finished" and {"progress", "sample"} < set(kinds)
    assert reported[-1].result["completions"] == 3 * len(keys)


def test_same_seed_same_file(miniature, tmp_path):
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        sampled(miniature, tmp_path / name, seed=seed, completions_per_prompt=2)
    one, again, other = ((tmp_path / name / SAMPLED_COMPLETIONS).read_bytes() for name in ("one", "again", "other"))
    assert one == again != other


def test_a_policy_that_repeats_itself_gives_fewer_and_says_so(miniature, networks, tmp_path):
    lines, reported = sampled(
        miniature,
        tmp_path,
        init_from=networks["gpt2"],
        completions_per_prompt=4,
        temperature=1e-3,
        max_completion_tokens=8,
    )
    prompts = sum(1 for _ in read(miniature / "ppo" / PROMPTS, PromptRecord))
    assert prompts <= len(lines) < 2 * prompts
    warning = next(event.message for event in reported if event.kind == "warning")
    assert "have fewer than 4 distinct completions after 12 tries" in warning


def test_scores_are_the_reward_models_less_its_offset_on_the_sampled_tokens(miniature, reward_model, tmp_path):
    lines, _ = sampled(miniature, tmp_path, completions_per_prompt=1, reward_model=reward_model)
    policy, tokenizer = load_policy(miniature / "base")
    prompts = [encode_prompt(tokenizer, record.prompt) for record in read(miniature / "ppo" / PROMPTS, PromptRecord)]
    again = sample(
        policy, prompts, max_new_tokens=24, eos_token_id=tokenizer.eos_token_id,
        forbidden=forbidden_token_ids(policy, tokenizer), generator=torch.Generator().manual_seed(seed_of(0, 0, 0)),
    )  # fmt: skip
    model, _, _ = load_reward_model(reward_model)
    assert len(lines) == len(prompts)
    for line, prompt, completion in zip(lines, prompts, again.texts(), strict=True):
        assert line.tokens == len(completion)
        with torch.no_grad():
            plain = float(model(input_ids=torch.tensor([prompt + completion])).logits[0, 0])
        assert line.score == pytest.approx(plain - 0.25, abs=1e-5)


def test_each_completion_is_the_best_of_n_by_score(miniature, reward_model, tmp_path):
    best = {"reward_model": reward_model, "best_of": 4, "completions_per_prompt": 1, "temperature": 1.0}
    lines, reported = sampled(miniature, tmp_path, **best, batch_size=1000)
    policy, tokenizer = load_policy(miniature / "base")
    prompts = [encode_prompt(tokenizer, record.prompt) for record in read(miniature / "ppo" / PROMPTS, PromptRecord)]
    again = sample(
        policy, [prompt for prompt in prompts for _ in range(4)], max_new_tokens=24,
        eos_token_id=tokenizer.eos_token_id, forbidden=forbidden_token_ids(policy, tokenizer),
        generator=torch.Generator().manual_seed(seed_of(0, 0, 0)),
    ).texts()  # fmt: skip
    model, _, _ = load_reward_model(reward_model)
    with torch.no_grad():
        scores = [float(model(torch.tensor([prompts[i // 4] + ids])).logits[0, 0]) for i, ids in enumerate(again)]
    for number, line in enumerate(lines):
        place = max(range(4 * number, 4 * number + 4), key=scores.__getitem__)
        assert line.text == tokenizer.decode(again[place], skip_special_tokens=True)
        assert line.score == pytest.approx(scores[place] - 0.25, abs=1e-5)
        assert line.settings["best_of"] == 4
    assert reported[-1].result["kl_bound_nats"] == pytest.approx(0.636, abs=1e-3)
    with pytest.raises(ValueError, match="best_of: 4 samples need a reward_model"):
        sampled(miniature, tmp_path / "no judge", best_of=4)


def test_greedy_writes_the_likeliest_text_and_only_one(miniature, tmp_path):
    lines, _ = sampled(miniature, tmp_path / "greedy", completions_per_prompt=1, temperature=0)
    model, tokenizer = load_policy(miniature / "base")
    prompts = {record.prompt_key: record.prompt for record in read(miniature / "ppo" / PROMPTS, PromptRecord)}
    for line in lines[:3]:
        ids = torch.tensor([encode_prompt(tokenizer, prompts[line.prompt_key])])
        written = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24)
        assert line.text == tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
    with pytest.raises(ValueError, match="completions_per_prompt: 6 at temperature 0"):
        sampled(miniature, tmp_path / "more", temperature=0)
    with pytest.raises(ValueError, match="best_of: 2 at temperature 0"):
        sampled(
            miniature, tmp_path / "best", temperature=0, best_of=2, completions_per_prompt=1, reward_model=miniature
        )
