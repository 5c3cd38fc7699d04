"""Completions from transformers' generate and from endpoints: a server of the same network, and failing servers."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from training import evaluate, sample_completions
from training.contract import events
from training.contract.configs import PPOConfig, ServeConfig
from training.contract.recipes import make_config
from training.contract.records import PROMPTS, SAMPLED_COMPLETIONS, PromptRecord, SampledCompletion, read
from training.ppo.networks import Networks
from training.ppo.rollout import roll_out
from training.reward.model import load_reward_model, new_reward_model, save_reward_model
from training.run import endpoint
from training.run.run_folder import RunFolder
from training.run.sources import PromptToSample, load_source, seed_of
from training.serve_policy import Resident, Server
from training.text.formatting import encode_prompt
from training.text.logprobs import completion_logprobs
from training.text.padding import pad
from training.text.policy import forbidden_token_ids, load_policy


@contextmanager
def served(network, key="", **settings) -> Iterator[str]:
    """Return the address of a server of the network, named "tiny"."""
    settings = {"max_prompt_tokens": 128, "max_completion_tokens": 24, **settings}
    server = Server(Resident(ServeConfig(init_from=network, name="tiny", port=0, **settings)), key)
    thread = threading.Thread(target=server.answer, daemon=True)
    thread.start()
    yield server.url
    server.should_exit = True
    thread.join()


def sampled(miniature, folder, **values):
    config = {"recipe": "miniature_sample", "data": miniature / "ppo", "init_from": miniature / "base", **values}
    with RunFolder(folder) as run_folder:
        sample_completions.run(make_config("sample_completions", config), run_folder)
    return list(read(folder / SAMPLED_COMPLETIONS, SampledCompletion))


def at(url, **values):
    return {"sampler": "endpoint", "endpoint": url, "endpoint_model": "tiny", **values}


def plain_logprobs(model, tokenizer, asked, drawn):
    """Return each whole completion's log-prob at temperature 1, from one forward pass over prompt and completion."""
    ids, mask = pad([prompt.ids + one.ids for prompt, one in zip(asked, drawn, strict=True)], tokenizer.pad_token_id)
    prompts = torch.tensor([len(prompt.ids) for prompt in asked])
    with torch.no_grad():
        forbidden = forbidden_token_ids(model, tokenizer)
        return completion_logprobs(model, ids, mask, prompts, mask.sum(1) - prompts, forbidden).sum(1)


@pytest.fixture
def asked(miniature):
    _, tokenizer = load_policy(miniature / "base")
    prompts = [record.prompt for record in read(miniature / "ppo" / PROMPTS, PromptRecord)]
    return [
        PromptToSample(prompt, encode_prompt(tokenizer, prompt), seed_of(0, place))
        for place, prompt in enumerate(prompts)
        for _ in range(3)
    ]


def drawn_by(miniature, asked, **values):
    """Return what a source draws, in the order asked."""
    config = {"recipe": "miniature_sample", "data": miniature / "ppo", "init_from": miniature / "base", **values}
    config = make_config("sample_completions", {"temperature": 1.0, **config})
    came = dict(load_source(config, config.init_from, config.endpoint_model).draw(asked))
    return [one for place in sorted(came) for one in came[place]]


def test_greedy_text_is_the_same_from_everyone(miniature, tmp_path):
    greedy = {"completions_per_prompt": 1, "temperature": 0}
    own = sampled(miniature, tmp_path / "own", **greedy)
    by_transformers = sampled(miniature, tmp_path / "transformers", sampler="transformers", **greedy)
    with served(miniature / "base") as url:
        by_endpoint = sampled(miniature, tmp_path / "endpoint", **at(url), **greedy)
    for lines, name in ((by_transformers, "transformers"), (by_endpoint, "endpoint")):
        assert [(one.prompt_key, one.text, one.finished) for one in lines] == [
            (one.prompt_key, one.text, one.finished) for one in own
        ]
        assert all(one.settings["sampler"] == name for one in lines)
    assert [one.tokens for one in by_transformers] == [one.tokens for one in own]
    assert "sampler" not in own[0].settings


@pytest.mark.parametrize("sampler", ["transformers", "endpoint"])
def test_distinct_texts_of_each_prompt_and_the_same_for_the_same_seed(miniature, tmp_path, sampler):
    with served(miniature / "base") as url:
        values = at(url) if sampler == "endpoint" else {"sampler": sampler}
        runs = [
            sampled(miniature, tmp_path / name, completions_per_prompt=3, seed=seed, **values)
            for name, seed in (("one", 1), ("again", 1), ("other", 2))
        ]
    keys = [record.prompt_key for record in read(miniature / "ppo" / PROMPTS, PromptRecord)]
    texts = {key: [one.text for one in runs[0] if one.prompt_key == key] for key in keys}
    assert all(len(set(found)) == len(found) == 3 for found in texts.values())
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("sampler", ["own", "transformers", "endpoint"])
def test_logprobs_are_those_of_a_forward_pass(miniature, asked, sampler):
    model, tokenizer = load_policy(miniature / "base")
    with served(miniature / "base") as url:
        drawn = drawn_by(miniature, asked, **(at(url) if sampler == "endpoint" else {"sampler": sampler}))
    expected = plain_logprobs(model, tokenizer, asked, drawn)
    torch.testing.assert_close(torch.tensor([one.logprob for one in drawn]), expected, rtol=0, atol=1e-4)
    assert all(one.finished == (one.ids[-1] == tokenizer.eos_token_id) for one in drawn)


def test_what_an_endpoint_does_not_tell_is_not_made_up(miniature, asked, monkeypatch):
    _, tokenizer = load_policy(miniature / "base")
    with served(miniature / "base") as url:
        drawn = drawn_by(miniature, asked, temperature=0.7, **at(url))
        assert len(drawn) == len(asked) and all(one.logprob is None for one in drawn), "a server's are at temperature 1"
        post = endpoint._post
        monkeypatch.setattr(endpoint, "_post", lambda client, body: post(client, {**body, "return_token_ids": False}))
        drawn = drawn_by(miniature, asked, **at(url))
    assert all(one.logprob is None for one in drawn), "of other tokens, perhaps"
    for one in drawn:
        assert one.ids == tokenizer(one.text)["input_ids"] + [tokenizer.eos_token_id] * one.finished


@pytest.mark.parametrize("sampler", ["transformers", "endpoint"])
def test_policies_are_evaluated_by_what_they_write_elsewhere(miniature, tmp_path, sampler):
    with served(miniature / "base") as url:
        values = {"sampler": "endpoint", "endpoint": url} if sampler == "endpoint" else {"sampler": sampler}
        config = {"recipe": "miniature_evaluate", "policies": {"tiny": miniature / "base"}, "prompts": 20, **values}
        with RunFolder(tmp_path / "run") as run_folder:
            evaluate.run(make_config("evaluate", config), run_folder)
    reported = [events.parse(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    report = reported[-1].result["policies"]["tiny"]
    assert report["completions"] == 20 and 1 <= report["mean_tokens"] <= 25
    assert report["kl_nats"] == pytest.approx(0, abs=1e-4)  # from itself


def test_a_rollout_by_transformers_has_the_logprobs_of_the_policy(miniature, asked, tmp_path):
    policy, tokenizer = load_policy(miniature / "base")
    reward_model, _ = new_reward_model(miniature / "base")
    save_reward_model(reward_model, tokenizer, tmp_path / "rm")
    reward_model, _, _ = load_reward_model(tmp_path / "rm")
    config = PPOConfig(
        sampler="transformers", max_completion_tokens=12, batch_size=12, minibatch_size=4, temperature=0.8
    )
    prompts = [one.ids for one in asked[:12]]
    networks = Networks(policy, policy, reward_model, None, tokenizer)
    rollouts = [roll_out(prompts, networks, config, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    torch.testing.assert_close(rollouts[0].logprobs, rollouts[0].reference_logprobs, rtol=0, atol=1e-4)
    assert torch.equal(rollouts[0].input_ids, rollouts[1].input_ids)
    assert not torch.equal(rollouts[0].logprobs, rollouts[2].logprobs)


def test_a_server_that_cannot_be_used_is_named_with_the_way_out(miniature, tmp_path, monkeypatch):
    monkeypatch.delenv(endpoint.KEY_VARIABLE, raising=False)
    monkeypatch.setattr(endpoint, "PATIENCE_SECONDS", 0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with served(miniature / "base", key="secret") as url:
        for number, (values, says) in enumerate(
            (
                (at(nowhere), "nothing answers at"),
                (at(url), f"refused the key \\(401\\); set {endpoint.KEY_VARIABLE}"),
            )
        ):
            with pytest.raises(ValueError, match=f"endpoint: .*{says}"):
                sampled(miniature, tmp_path / str(number), **values)
        monkeypatch.setenv(endpoint.KEY_VARIABLE, "secret")
        for number, (values, says) in enumerate(
            (
                (at(url, endpoint_model="huge"), "has no model 'huge'.*ask for 'tiny'"),
                (at(url.removesuffix("/v1")), "does not end in /v1"),
                (at(url, max_completion_tokens=40), "max_completion_tokens: .* cut a completion before 40 tokens"),
            ),
            2,
        ):
            with pytest.raises(ValueError, match=says):
                sampled(miniature, tmp_path / str(number), **values)
        assert sampled(miniature, tmp_path / "fine", **at(url, completions_per_prompt=1))
    with (
        served(miniature / "base", max_prompt_tokens=2) as url,
        pytest.raises(ValueError, match="longer than 2 tokens"),
    ):
        sampled(miniature, tmp_path / "long", **at(url))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"sampler": "endpoint"}, "endpoint: set an address if sampler = endpoint"),
        ({"endpoint": "http://127.0.0.1:8000/v1"}, "endpoint: set an address if sampler = endpoint"),
        (at("127.0.0.1:8000"), "endpoint: 127.0.0.1:8000 is not an address"),
        (at("http://a/v1", endpoint_model=None), "endpoint_model: set the policy's name at the endpoint"),
        ({"sampler": "vllm"}, "sampler = 'vllm'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(miniature, values, says):
    with pytest.raises(ValueError, match=says):
        drawn_by(miniature, [], **values)
