"""Log-probabilities against plain transformers, one unpadded sequence at a time; what a saved policy holds."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
)

from training.contract.records import Message
from training.networks.dropout import add_residual_dropout
from training.text import logprobs, policy
from training.text.formatting import encode_completion, encode_prompt
from training.text.logprobs import completion_logprobs, mask_logits, selected_logprobs
from training.text.padding import pad
from training.text.policy import forbidden_token_ids, load_policy, save_policy
from training.text.tokenizer import train_tokenizer

PROMPTS = [(Message(role="user", text=text),) for text in ("the cat sat", "Reply with two words: the dog.", "one")]
COMPLETIONS = ["the mat", "one two three 1234 and the cat ran", "ran"]


def reference_logprobs(model, prompt, completion, forbidden, temperature=1.0):
    """Return log p of each completion token by one plain unpadded forward pass, in float64."""
    logits = model(torch.tensor([prompt + completion])).logits[0].double() / temperature
    logits[:, forbidden] = -math.inf
    logprobs = logits.log_softmax(-1)
    return [float(logprobs[len(prompt) + i - 1, token]) for i, token in enumerate(completion)]


@pytest.mark.parametrize("left", [False, True], ids=["right-padded", "left-padded"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@torch.no_grad()
def test_completion_logprobs_are_those_of_plain_transformers(network, left, temperature):
    model, tokenizer = load_policy(network)
    forbidden = forbidden_token_ids(model, tokenizer)
    prompts = [encode_prompt(tokenizer, prompt) for prompt in PROMPTS]
    completions = [encode_completion(tokenizer, text) for text in COMPLETIONS]
    ids, mask = pad([p + c for p, c in zip(prompts, completions, strict=True)], tokenizer.pad_token_id, left=left)
    lengths = torch.tensor([len(p) for p in prompts]), torch.tensor([len(c) for c in completions])
    ours = completion_logprobs(model, ids, mask, *lengths, forbidden, temperature=temperature)
    assert ours.shape == (3, max(map(len, completions)))
    for row, prompt, completion in zip(ours, prompts, completions, strict=True):
        theirs = reference_logprobs(model, prompt, completion, forbidden, temperature)
        assert row[: len(completion)].tolist() == pytest.approx(theirs, abs=2e-4)
        assert row[len(completion) :].abs().sum() == 0


@torch.no_grad()
def test_packed_rows_do_not_see_their_neighbours(network):
    model, tokenizer = load_policy(network)
    forbidden = forbidden_token_ids(model, tokenizer)
    sequences = [encode_completion(tokenizer, text) for text in (*COMPLETIONS, "the dog sat on the cat")]
    ids = torch.tensor([[token for sequence in sequences for token in sequence]])
    positions = torch.cat([torch.arange(len(sequence)) for sequence in sequences])[None]
    ours = selected_logprobs(model, ids, positions > 0, forbidden, positions=positions)[0]
    start = 0
    for sequence in sequences:
        theirs = reference_logprobs(model, sequence[:1], sequence[1:], forbidden)
        assert ours[start + 1 : start + len(sequence)].tolist() == pytest.approx(theirs, abs=2e-4)
        start += len(sequence)


def test_chunks_change_neither_values_nor_gradients(networks, monkeypatch):
    model, tokenizer = load_policy(networks["gpt2"])
    forbidden = forbidden_token_ids(model, tokenizer)
    ids, mask = pad([encode_completion(tokenizer, text) for text in COMPLETIONS], tokenizer.pad_token_id)
    selected = mask.bool() & (torch.arange(ids.shape[1]) > 0)
    results = []
    for chunk_logits in (2**25, 700):  # all at once; two tokens at a time
        monkeypatch.setattr(logprobs, "CHUNK_LOGITS", chunk_logits)
        model.zero_grad()
        found = selected_logprobs(model, ids, selected, forbidden, mask)
        found.sum().backward()
        results.append((found.detach(), {n: p.grad.clone() for n, p in model.named_parameters()}))
    torch.testing.assert_close(results[0][0], results[1][0])
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(gradient, results[1][1][name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("config", "network_class"),
    [
        (Gemma2Config(head_dim=8, num_key_value_heads=2, final_logit_softcapping=3.0), Gemma2ForCausalLM),
        (GraniteConfig(logits_scaling=4.0, num_key_value_heads=4), GraniteForCausalLM),
    ],
    ids=["softcapped", "scaled"],
)
@torch.no_grad()
def test_logits_that_are_more_than_the_output_embedding(config, network_class):
    for key, value in {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}.items():
        setattr(config, key, value)
    config.num_attention_heads, config.initializer_range = 4, 0.5
    torch.manual_seed(0)
    model = network_class(config).eval()
    sequence = list(range(5, 17))
    forbidden = torch.tensor([0])
    selected = torch.ones(1, 12, dtype=torch.bool)
    selected[0, 0] = False
    ours = selected_logprobs(model, torch.tensor([sequence]), selected, forbidden, torch.ones(1, 12))
    theirs = reference_logprobs(model, sequence[:1], sequence[1:], forbidden)
    assert ours[0, 1:].tolist() == pytest.approx(theirs, abs=2e-4)


def test_every_network_gets_a_pad_token_of_its_own(network):
    plain = AutoModelForCausalLM.from_pretrained(network)
    model, tokenizer = load_policy(network)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert model.config.pad_token_id == tokenizer.pad_token_id < model.get_input_embeddings().num_embeddings
    old = plain.get_input_embeddings().num_embeddings
    ids = torch.tensor([[3, 4, 5]])
    torch.testing.assert_close(model(ids).logits[..., :old], plain.eval()(ids).logits)


def test_forbidden_ids_are_the_pad_and_rows_without_a_token(networks):
    model, tokenizer = load_policy(networks["qwen2"])
    rows = model.get_output_embeddings().weight.shape[0]
    assert forbidden_token_ids(model, tokenizer).tolist() == [tokenizer.pad_token_id, *range(len(tokenizer), rows)]
    logits = mask_logits(torch.zeros(2, rows), forbidden_token_ids(model, tokenizer))
    assert torch.isneginf(logits).sum() == 2 * 8


def test_a_saved_policy_loads_in_plain_transformers(network, tmp_path):
    model, tokenizer = load_policy(network)
    save_policy(model, tokenizer, tmp_path)
    plain, plain_tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(plain.state_dict()[name], weight, rtol=0, atol=0)
    assert plain.generation_config.eos_token_id == tokenizer.eos_token_id
    assert plain.generation_config.pad_token_id == plain.config.pad_token_id == tokenizer.pad_token_id
    messages = [{"role": "user", "content": "the cat sat"}]
    theirs = plain_tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    ours = encode_prompt(tokenizer, PROMPTS[0])
    bos = tokenizer.bos_token_id
    assert theirs == (ours[1:] if network.name == "llama" and ours[0] == bos else ours)
    assert (tmp_path / "chat_template.jinja").exists()


def test_a_policy_has_no_dropout_unless_asked(network):
    model, _ = load_policy(network)
    ids = torch.arange(3, 30)[None]

    def differs():
        return not torch.equal(model(ids).logits, model(ids).logits)

    model.train()
    assert not differs()
    add_residual_dropout(model, 0.5)
    assert differs()
    model.eval()
    assert not differs()


def test_a_folder_without_network_and_a_tokenizer_without_end_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such network folder"):
        load_policy(tmp_path / "missing")


TOKENIZER = train_tokenizer(["the cat sat on the mat.", "two words: 12"] * 5, 330)


@given(st.text(max_size=60))
@settings(max_examples=200)
def test_any_text_comes_back_from_our_tokenizer(text):
    ids = TOKENIZER(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert TOKENIZER.decode(ids) == text
    assert not set(ids) & set(TOKENIZER.all_special_ids)


def test_a_word_is_one_token_at_the_start_as_in_the_middle():
    assert TOKENIZER("the cat", add_special_tokens=False)["input_ids"][0] in TOKENIZER("on the")["input_ids"]


def test_a_small_network_computes_on_one_thread(monkeypatch):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        network = torch.nn.Linear(100, 100)
        monkeypatch.setattr(policy, "SMALL_WEIGHTS", 100)
        policy.tune_process(network)
        assert torch.get_num_threads() == 2
        monkeypatch.setattr(policy, "SMALL_WEIGHTS", 1_000_000)
        policy.tune_process(network)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
