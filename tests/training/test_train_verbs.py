"""train_base, train_reward_model and evaluate in this process, each on a small miniature."""

import itertools
import json
import math
import random
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from training import evaluate, train_base, train_reward_model, train_sft
from training.contract import events
from training.contract.recipes import load_config
from training.contract.records import (
    COMPARISONS,
    DEMONSTRATIONS,
    ComparisonRecord,
    DemonstrationRecord,
    Message,
    Pool,
    RankedCompletion,
    Split,
    read,
    write,
)
from training.evaluate import best_of, solved, win_rate
from training.miniature import rubric
from training.reward.model import load_reward_model, score_sequences
from training.reward.rankings import TIES, read_rankings
from training.run.run_folder import RunFolder
from training.text.formatting import encode_completion, encode_prompt
from training.text.policy import load_policy


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(module, config, folder):
    with RunFolder(folder) as run_folder:
        module.run(config, run_folder)
    return [events.parse(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def of_kind(reported, kind):
    return [event for event in reported if event.kind == kind]


BASE = ["corpus_words=2000", "vocab_size=320", "hidden_size=32", "intermediate_size=64", "layers=1", "heads=2"]


def base(folder, *settings):
    return run(train_base, load_config("train_base", "miniature_base", [*BASE, *settings]), folder)


def test_a_base_network_follows_from_its_seed_and_its_corpus(tmp_path):
    weights = {}
    for name, settings in {"one": [], "same": ["micro_batch_tokens=128"], "other": ["seed=1"]}.items():
        reported = base(tmp_path / name, *settings)
        weights[name] = load_file(tmp_path / name / "checkpoints" / "base" / "model.safetensors")
        losses = [event.values["base/loss"] for event in of_kind(reported, "metrics")]
        assert losses[-1] < losses[0]
    for key, weight in weights["one"].items():
        torch.testing.assert_close(weight, weights["same"][key], rtol=1e-3, atol=1e-4)
    assert any(not torch.allclose(w, weights["other"][key], atol=1e-2) for key, w in weights["one"].items())


def test_a_base_network_is_taken_from_the_cache_only_for_the_same_corpus_and_recipe(tmp_path):
    cache = f"cache={tmp_path / 'cache'}"
    finished = {}
    for name, settings in {
        "first": [],
        "again": [],
        "rate": ["learning_rate=0.001"],
        "text": ["corpus_seed=1"],
    }.items():
        reported = base(tmp_path / name, cache, *settings)
        finished[name] = of_kind(reported, "finished")[0].result["from_cache"]
        (saved,) = of_kind(reported, "checkpoint")
        assert (saved.role, saved.path) == ("base", "checkpoints/base")
        load_policy(tmp_path / name / "checkpoints" / "base")
    assert finished == {"first": False, "again": True, "rate": False, "text": False}
    first, again = (load_file(tmp_path / n / "checkpoints" / "base" / "model.safetensors") for n in ("first", "again"))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_a_base_network_learns_any_text_file(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"naïve text number {n}" for n in range(300)), encoding="utf-8")
    base(tmp_path / "run", f"text={text}")
    folder = tmp_path / "run" / "checkpoints" / "base"
    assert (folder / "pretraining.txt").read_text(encoding="utf-8") == text.read_text(encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer("漢字 ☃", add_special_tokens=False)["input_ids"]) == "漢字 ☃"


def test_the_prompts_tokens_are_learnt_only_when_asked(miniature, tmp_path):
    path = tmp_path / "data" / DEMONSTRATIONS
    path.parent.mkdir()
    asked = (Message(role="user", text="list three animals."),)
    write(
        path,
        [
            DemonstrationRecord(
                prompt_key=str(n), prompt=asked, split="train", completion="cat.", labeler="a", pool="train"
            )
            for n in range(8)
        ],
    )
    prompt_loss = {}
    for masked in ("false", "true"):
        settings = [f"data={path.parent}", f"init_from={miniature / 'base'}", "epochs=60", f"train_on_prompt={masked}"]
        settings.append("learning_rate=0.005")
        run(train_sft, load_config("train_sft", "miniature_sft", settings), tmp_path / masked)
        model, tokenizer = load_policy(tmp_path / masked / "checkpoints" / "sft")
        prompt = encode_prompt(tokenizer, asked)
        whole = torch.tensor([prompt + encode_completion(tokenizer, "cat.")])
        with torch.no_grad():
            logprobs = model(whole).logits[0].log_softmax(-1)
        each = [-float(logprobs[i - 1, whole[0, i]]) for i in range(1, whole.shape[1])]
        assert sum(each[len(prompt) - 1 :]) < 6  # from 18: the completion is learnt either way
        prompt_loss[masked] = sum(each[: len(prompt) - 1])
    assert prompt_loss["true"] < prompt_loss["false"] / 4


def test_held_out_labelers_and_other_splits_teach_nothing(miniature, tmp_path):
    records = list(read(miniature / "sft" / DEMONSTRATIONS, DemonstrationRecord))
    weights = []
    for name, extra in {
        "plain": [],
        "noise": [
            records[0].model_copy(update={"pool": Pool.HELD_OUT, "completion": "held out."}),
            records[1].model_copy(update={"split": Split.TEST, "completion": "kept back."}),
        ],
    }.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name / DEMONSTRATIONS, records + extra)
        settings = [f"data={tmp_path / name}", f"init_from={miniature / 'base'}", "epochs=1"]
        reported = run(train_sft, load_config("train_sft", "miniature_sft", settings), tmp_path / name / "run")
        weights.append(load_file(tmp_path / name / "run" / "checkpoints" / "sft" / "model.safetensors"))
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert "1 demonstrations left out: by held-out labelers" in [e.message for e in of_kind(reported, "warning")]


@pytest.fixture(scope="module")
def reward_model_run(miniature, tmp_path_factory):
    """Return a reward model's run folder and its events, from rankings by both pools."""
    folder = tmp_path_factory.mktemp("rm")
    data = folder / "data"
    data.mkdir()
    records = list(read(miniature / "rm" / COMPARISONS, ComparisonRecord))
    held_out = [
        record.model_copy(update={"pool": Pool.HELD_OUT, "prompt_key": f"h{n}", "labeler": "h"})
        for n, record in enumerate(records[:6])
    ]
    seen = [record.model_copy(update={"pool": Pool.HELD_OUT, "labeler": "h"}) for record in records[:3]]
    write(data / COMPARISONS, [*records, *held_out, *seen])
    write(data / DEMONSTRATIONS, read(miniature / "rm" / DEMONSTRATIONS, DemonstrationRecord))
    torch.set_num_threads(1)
    settings = [f"data={data}", f"init_from={miniature / 'base'}", "epochs=6", "learning_rate=0.003"]
    settings += ["max_prompt_tokens=256", "max_completion_tokens=64"]
    return (
        folder,
        records,
        run(train_reward_model, load_config("train_reward_model", "miniature_reward_model", settings), folder / "run"),
    )


def test_a_reward_model_learns_and_says_how_well(reward_model_run):
    _, records, reported = reward_model_run
    metrics = [event.values for event in of_kind(reported, "metrics")]
    assert metrics[0]["reward_model/loss"] == pytest.approx(math.log(2), abs=0.1)
    assert metrics[-1]["reward_model/accuracy"] > 0.65
    (saved,) = of_kind(reported, "checkpoint")
    assert saved.role == "reward_model"
    validation = [record for record in records if record.split != "train"]
    assert saved.metrics["accuracy/validation_pairs"] == sum(len(record.pairs()) for record in validation)
    assert saved.metrics["accuracy/held_out_labelers_pairs"] == sum(len(record.pairs()) for record in records[:6])
    for name in ("validation", "held_out_labelers"):
        low, share, high = (saved.metrics[f"accuracy/{name}{end}"] for end in ("_low", "", "_high"))
        assert 0 <= low < share < high <= 1
    warnings = " / ".join(event.message for event in of_kind(reported, "warning"))
    assert "3 rankings left out: by held-out labelers, of texts that are trained on" in warnings
    assert "pairs left out: tied" in warnings


def test_demonstrations_score_zero_on_average_and_plain_transformers_adds_the_offset(reward_model_run):
    folder, _, reported = reward_model_run
    place = folder / "run" / "checkpoints" / "reward_model"
    model, tokenizer, offset = load_reward_model(place)
    assert offset == of_kind(reported, "checkpoint")[0].metrics["score_offset"]
    sequences = [
        encode_prompt(tokenizer, record.prompt) + encode_completion(tokenizer, record.completion)
        for record in read(folder / "data" / DEMONSTRATIONS, DemonstrationRecord)
        if record.split == "train"
    ]
    scores = score_sequences(model, sequences, tokenizer.pad_token_id) - offset
    assert float(scores.mean()) == pytest.approx(0, abs=1e-4)
    plain = AutoModelForSequenceClassification.from_pretrained(place).eval()
    with torch.no_grad():
        logits = torch.stack([plain(torch.tensor([sequence])).logits[0, 0] for sequence in sequences])
    torch.testing.assert_close(logits, scores + json.loads((place / "config.json").read_text())["score_offset"])


def test_all_rankings_of_a_prompt_are_one_element_and_ties_are_left_out(miniature, tmp_path):
    def ranking(key, tiers, texts=("a.", "b.", "c.")):
        completions = tuple(RankedCompletion(text=t, policy="x", tier=n) for t, n in zip(texts, tiers, strict=True))
        return ComparisonRecord(
            prompt_key=key, prompt=(Message(role="user", text=key),), split="train", completions=completions,
            labeler="a", pool="train",
        )  # fmt: skip

    write(tmp_path / COMPARISONS, [ranking("p", (1, 2, 3)), ranking("q", (1, 1, 1)), ranking("p", (2, 1, None))])
    settings = [f"data={tmp_path}", f"init_from={miniature / 'base'}"]
    config = load_config("train_reward_model", "miniature_reward_model", settings)
    _, tokenizer = load_policy(miniature / "base")
    counts = Counter()
    rankings = read_rankings(config, tokenizer, counts)
    assert [len(prompt.completions) for prompt in rankings.train] == [3, 3]
    assert not rankings.validation and not rankings.held_out_labelers
    pairs = [
        ["".join(tokenizer.decode(prompt.completions[place])[0] for place in pair[:2]) for pair in prompt.pairs]
        for prompt in rankings.train
    ]
    assert [sorted(one) for one in pairs] == [["ab", "ac", "ba", "bc"], []]
    assert counts[TIES] == 3 + 2
    reported = run(train_reward_model, config, tmp_path / "run")
    assert of_kind(reported, "finished") and "held-out accuracy is not known" in str(of_kind(reported, "warning"))

    write(tmp_path / COMPARISONS, [ranking("q", (1, 1, 1))])
    with pytest.raises(ValueError, match="has no pair to learn from"):
        run(train_reward_model, config, tmp_path / "ties")


def test_an_evaluation_says_what_each_policy_does(miniature, reward_model_run, tmp_path):
    trained = run(
        train_sft,
        load_config(
            "train_sft", "miniature_sft", [f"data={miniature / 'sft'}", f"init_from={miniature / 'base'}", "epochs=15"]
        ),
        tmp_path / "sft",
    )
    assert of_kind(trained, "finished")
    settings = [
        f"policies.base={miniature / 'base'}",
        f"policies.sft={tmp_path / 'sft' / 'checkpoints' / 'sft'}",
        f"reward_model={reward_model_run[0] / 'run' / 'checkpoints' / 'reward_model'}",
        "prompts=16",
        "completions_per_prompt=2",
        "reference=sft",
    ]
    reported = run(evaluate, load_config("evaluate", "miniature_evaluate", settings), tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert of_kind(reported, "finished")[0].result == report
    base_row, sft_row = report["policies"]["base"], report["policies"]["sft"]
    assert sft_row["kl_nats"] == pytest.approx(0, abs=1e-3) and base_row["kl_nats"] > 0.1
    assert sft_row["mean_score"] != base_row["mean_score"]
    assert [row["n"] for row in base_row["best_of"]] == [1, 2]
    assert base_row["best_of"][0]["score"] == pytest.approx(base_row["mean_score"])
    assert base_row["best_of"][1]["score"] > base_row["mean_score"]
    assert base_row["best_of"][0]["utility"] == pytest.approx(base_row["mean_utility"])
    assert set(sft_row["solved_by_family"]) >= {"list", "passage", "manners"}
    (row,) = report["win_rates"]
    assert (row["policy"], row["against"], row["prompts"]) == ("sft", "base", 16)
    assert 0 <= row["low"] <= row["win_rate"] <= row["high"] <= 1
    assert row["completions"] == 32
    for name in ("solved", "mean_utility", "mean_score", "kl_nats", "mean_tokens", "eos_rate"):
        low, value, high = (base_row[name + end] for end in ("_low", "", "_high"))
        assert low <= value <= high and low < high, name
    counted = [(found["prompts"], found["completions"]) for found in sft_row["families"].values()]
    assert sum(prompts for prompts, _ in counted) == 16 and all(n == 2 * prompts for prompts, n in counted)
    for family, found in sft_row["families"].items():
        assert found["solved"] == sft_row["solved_by_family"][family]
        assert found["solved_high"] - found["solved_low"] > 0.5, family  # of two prompts each
    assert all(one["score_low"] < one["score"] < one["score_high"] for one in base_row["best_of"])


def test_an_evaluation_on_a_snapshots_prompts(miniature, tmp_path):
    settings = [f"policies.base={miniature / 'base'}", f"data={miniature / 'ppo'}", "split=validation", "prompts=2"]
    reported = run(evaluate, load_config("evaluate", "miniature_evaluate", [*settings, "temperature=0"]), tmp_path)
    assert of_kind(reported, "finished")[0].result["prompts"] == 2
    with pytest.raises(ValueError, match="no policy is named 'ppo'; choose from base"):
        run(evaluate, load_config("evaluate", "miniature_evaluate", [*settings, "reference=ppo"]), tmp_path / "bad")


def test_every_family_goes_through_all_verbs(network, miniature, tmp_path):
    lengths = ["max_prompt_tokens=110", "max_completion_tokens=40"]
    settings = [f"data={miniature / 'sft'}", f"init_from={network}", "epochs=1", "dropout=0.1", *lengths]
    text = [f"pretraining_text={miniature / 'base' / 'pretraining.txt'}", "pretraining_share=0.1"]
    if network.name == "gpt2":  # it has 120 positions, fewer than these demonstrations need
        with pytest.raises(ValueError, match=r"a sequence has 12\d tokens, but the network has positions for 120"):
            run(train_sft, load_config("train_sft", "miniature_sft", settings), tmp_path / "too long")
        lengths[0] = "max_prompt_tokens=80"
    trained = run(train_sft, load_config("train_sft", "miniature_sft", [*settings, *text, *lengths]), tmp_path / "sft")
    assert of_kind(trained, "finished")
    sft = tmp_path / "sft" / "checkpoints" / "sft"
    settings = [f"data={miniature / 'rm'}", f"init_from={sft}", *lengths]
    trained = run(
        train_reward_model, load_config("train_reward_model", "miniature_reward_model", settings), tmp_path / "rm"
    )
    assert of_kind(trained, "finished")
    settings = [f"policies.sft={sft}", f"reward_model={tmp_path / 'rm' / 'checkpoints' / 'reward_model'}", "prompts=8"]
    settings += ["max_prompt_tokens=110", "max_completion_tokens=8"]
    reported = run(evaluate, load_config("evaluate", "miniature_evaluate", settings), tmp_path / "evaluation")
    assert of_kind(reported, "finished")[0].result["policies"]["sft"]["kl_nats"] == pytest.approx(0, abs=1e-3)


def test_a_win_rate_counts_a_draw_as_half():
    ours = [1.0] * 392 + [0.5] * 9 + [0.0] * (805 - 401)
    measured = win_rate(ours, [0.5] * 805)
    assert 100 * measured["win_rate"] == pytest.approx(49.2547, abs=1e-4)
    # Near one half with many prompts it is the normal interval; the paper's standard error is 1.753.
    assert 100 * (measured["high"] - measured["low"]) / 2 / 1.959964 == pytest.approx(1.7533, abs=0.01)


def test_the_best_of_n_is_what_every_choice_of_n_would_give_on_average():
    rng = random.Random(3)
    scores, utilities = ([rng.gauss(0, 1) for _ in range(3 * 6)] for _ in range(2))
    rows = best_of(scores, utilities, 6)
    assert [row["n"] for row in rows] == [1, 2, 4]
    assert [row["kl_nats"] for row in rows] == pytest.approx([0, math.log(2) - 0.5, math.log(4) - 0.75])
    for row in rows:
        chosen = [
            max(subset, key=scores.__getitem__)
            for start in (0, 6, 12)
            for subset in itertools.combinations(range(start, start + 6), row["n"])
        ]
        assert row["score"] == pytest.approx(sum(scores[i] for i in chosen) / len(chosen))
        assert row["utility"] == pytest.approx(sum(utilities[i] for i in chosen) / len(chosen))
    assert "utility" not in best_of(scores, None, 6)[0]


def test_the_loss_on_a_text_is_plain_transformers(miniature, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat.\n\na dog ran to the boat and was not seen again.\n\none.")
    settings = [f"policies.base={miniature / 'base'}", f"text={text}", "prompts=2"]
    reported = run(evaluate, load_config("evaluate", "miniature_evaluate", settings), tmp_path / "run")
    model, tokenizer = load_policy(miniature / "base")
    nats, count = 0.0, 0
    for document in text.read_text().split("\n\n"):
        ids = torch.tensor([encode_completion(tokenizer, document)])
        with torch.no_grad():
            logits = model(ids).logits[0].double()
        logits[:, tokenizer.pad_token_id] = -math.inf
        nats -= float(logits.log_softmax(-1)[:-1].gather(1, ids[0, 1:, None]).sum())
        count += ids.shape[1] - 1
    base_row = of_kind(reported, "finished")[0].result["policies"]["base"]
    assert base_row["text_loss_nats"] == pytest.approx(nats / count, rel=1e-5)


def test_the_completions_of_a_prompt_are_one_observation():
    ours, theirs = [1.0, 1.0, 0.0, 0.0] * 10, [0.5] * 40
    clustered, apart = win_rate(ours, theirs, 2), win_rate(ours, theirs)
    assert clustered["win_rate"] == apart["win_rate"] == 0.5
    assert clustered["prompts"] == 20 and clustered["high"] > apart["high"]
    once = win_rate([1.0, 0.0] * 10, [0.5] * 20)
    assert (clustered["low"], clustered["high"]) == pytest.approx((once["low"], once["high"]), abs=1e-9)


@pytest.mark.parametrize("per_prompt", [1, 8])
def test_winning_at_one_prompt_proves_nothing_and_no_prompt_says_nothing(per_prompt):
    measured = win_rate([1.0] * per_prompt, [0.0] * per_prompt, per_prompt)
    assert measured["win_rate"] == measured["high"] == 1.0 and measured["low"] < 0.1
    assert win_rate([], []) == {"prompts": 0, "completions": 0}
    drawn = win_rate([1.0] * 20 * per_prompt, [1.0] * 20 * per_prompt, per_prompt)
    assert drawn["win_rate"] == 0.5 and drawn["low"] < 0.44 and drawn["high"] > 0.56


def test_what_is_solved_is_counted_by_prompt():
    rng = random.Random(5)
    chances = [rng.random() ** 0.2 for _ in range(40)]  # some prompts are hard
    judgements = [
        rubric.Judgement("list" if n < 30 else "words", right, 1.0 if right else -0.25, {})
        for n, chance in enumerate(chances)
        for right in [rng.random() < chance] * 8  # all eight alike
    ]
    found, once = solved(judgements, 8), solved(judgements[::8])
    assert found["solved"] == once["solved"] and found["mean_utility"] == pytest.approx(once["mean_utility"])
    for name in ("solved_low", "solved_high", "mean_utility_low", "mean_utility_high"):
        assert found[name] == pytest.approx(once[name], abs=1e-9)
    assert {family: (one["prompts"], one["completions"]) for family, one in found["families"].items()} == {
        "list": (30, 240),
        "words": (10, 80),
    }
    # For eight completions of each of 40 prompts, the printed interval used to be that of 320 prompts.
    apart = solved(judgements)
    assert found["solved_high"] - found["solved_low"] > 2.5 * (apart["solved_high"] - apart["solved_low"])


def test_all_solved_is_no_certainty():
    found = solved([rubric.Judgement("list", True, 1.0, {})] * 40, 4)
    assert (found["solved"], found["solved_high"], found["mean_utility"], found["mean_utility_high"]) == (1, 1, 1, 1)
    assert 0.7 < found["solved_low"] < 0.78 and found["mean_utility_low"] == pytest.approx(2 * found["solved_low"] - 1)
