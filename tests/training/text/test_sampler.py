"""The sampler against one plain forward pass per sequence, and against the distribution itself."""

import itertools

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from training.fast.caches import ROOM_TOKENS
from training.text import sampling_ways
from training.text.sampler import sample

PAD, EOS = 0, 1


def tiny(vocab_size=23, seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=256, pad_token_id=PAD, eos_token_id=EOS, bos_token_id=None, initializer_range=0.4,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def draw(model, prompts, seed=5, **settings):
    generator = torch.Generator().manual_seed(seed)
    settings = {"max_new_tokens": 8, **settings}
    return sample(
        model,
        prompts,
        eos_token_id=EOS,
        forbidden=torch.tensor([PAD]),
        generator=generator,
        **settings,
    )


@torch.no_grad()
def log_softmax_after(model, ids, temperature=1.0):
    """Return log p(next | ids) over the vocabulary without the pad, from one unpadded forward pass."""
    logits = model(input_ids=torch.tensor([ids])).logits[0, -1] / temperature
    logits[PAD] = -torch.inf
    return torch.log_softmax(logits, dim=-1)


PROMPTS = [[4, 5, 6], [7], [4, 5, 6], [8, 9, 10, 11, 12, 13, 14], [7], [2, 3], [4, 5, 6]]


@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.0])
@pytest.mark.parametrize("prompts", [PROMPTS, [[7, 5], [3, 4]]], ids=["padded", "none is padded"])
def test_logprobs_are_those_of_a_plain_forward_pass(prompts, temperature):
    same_logprobs(tiny(), prompts, draw(tiny(), prompts, temperature=temperature), temperature)


def test_completions_longer_than_the_room_of_the_first_tokens():
    model = tiny(vocab_size=101)  # most are cut at the limit, some end before
    sampled = draw(model, PROMPTS, max_new_tokens=3 * ROOM_TOKENS - 20)
    assert sampled.mask.shape[1] > 2 * ROOM_TOKENS and len(set(sampled.mask.sum(1).tolist())) > 1
    same_logprobs(model, PROMPTS, sampled)


def same_logprobs(model, prompts, sampled, temperature=1.0):
    """Compare with one plain forward pass for each token."""
    for prompt, ids, logprobs in zip(prompts, sampled.texts(), sampled.logprobs, strict=True):
        for t, token in enumerate(ids):
            expected = log_softmax_after(model, prompt + ids[:t], temperature)[token]
            assert float(logprobs[t]) == pytest.approx(float(expected), abs=1e-4)


def test_rows_end_at_their_end_of_text_and_are_padded_after_it():
    sampled = draw(tiny(), PROMPTS * 10)
    lengths = sampled.mask.sum(dim=1)
    assert lengths.min() < lengths.max() == sampled.tokens.shape[1]
    for ids, finished, row, keep in zip(sampled.texts(), sampled.finished, sampled.tokens, sampled.mask, strict=True):
        assert EOS not in ids[:-1]
        assert finished == (ids[-1] == EOS)
        assert finished or len(ids) == 8
        assert (row[~keep] == PAD).all()
    assert sampled.finished.any() and not sampled.finished.all()
    assert not sampled.logprobs[~sampled.mask].any()


def test_a_completion_may_be_the_end_of_text_alone_and_may_end_in_the_last_slot():
    sampled = draw(tiny(), PROMPTS * 40, max_new_tokens=3)
    lengths = sampled.mask.sum(dim=1)
    assert (lengths == 1).any()
    assert (sampled.finished & (lengths == 3)).any()


def test_the_pad_token_is_never_sampled():
    model = tiny()
    model.lm_head.weight.data[PAD] *= 40  # by its own logits it would often win
    sampled = draw(model, PROMPTS * 30)
    assert not (sampled.tokens[sampled.mask] == PAD).any()
    assert torch.isfinite(sampled.logprobs).all()


def test_forbidden_tokens_are_never_sampled():
    model = tiny()
    free = draw(model, PROMPTS * 30)
    common = int(free.tokens[free.mask].mode().values)
    sampled = sample(
        model, PROMPTS * 30, max_new_tokens=8, eos_token_id=EOS,
        forbidden=torch.tensor([PAD, common]), generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    assert common != EOS and not (sampled.tokens == common).any()
    assert torch.isfinite(sampled.logprobs).all()


def test_same_seed_same_text_and_another_seed_another():
    model = tiny()
    first, again, other = draw(model, PROMPTS), draw(model, PROMPTS), draw(model, PROMPTS, seed=6)
    assert torch.equal(first.tokens, again.tokens)
    assert torch.equal(first.logprobs, again.logprobs)
    assert first.texts() != other.texts()


@pytest.mark.parametrize("rows_at_once", [1, 3, 7])
def test_text_does_not_depend_on_who_is_sampled_beside(rows_at_once):
    model = tiny()
    together, apart = draw(model, PROMPTS), draw(model, PROMPTS, rows_at_once=rows_at_once)
    assert together.texts() == apart.texts()
    torch.testing.assert_close(together.logprobs, apart.logprobs, rtol=0, atol=1e-5)


def test_prompts_read_in_pieces_are_read_as_well(monkeypatch):
    model = tiny()
    together = draw(model, PROMPTS)
    monkeypatch.setattr(sampling_ways, "PREFILL_TOKENS", 2 * max(map(len, PROMPTS)))
    read = []
    model.model.embed_tokens.register_forward_hook(lambda _, args, __: read.append(args[0].shape))
    in_pieces = draw(model, PROMPTS)
    assert read[:2] == [(2, 7), (2, 7)] and read[2][1] == 1  # four distinct prompts, then a token of each row
    assert together.texts() == in_pieces.texts()
    torch.testing.assert_close(together.logprobs, in_pieces.logprobs, rtol=0, atol=1e-5)


def test_greedy_takes_the_likeliest_token():
    model = tiny()
    sampled = draw(model, PROMPTS, temperature=0.0)
    for prompt, ids in zip(PROMPTS, sampled.texts(), strict=True):
        for t, token in enumerate(ids):
            assert token == int(log_softmax_after(model, prompt + ids[:t]).argmax())


@pytest.mark.parametrize("by", ["own", "transformers"])
def test_frequencies_are_the_policys_probabilities(by):
    model, prompt, draws = tiny(vocab_size=5, seed=2), [2, 3], 20_000
    sampled = draw(model, [prompt] * draws, max_new_tokens=2, rows_at_once=draws, by=by)
    counts: dict[tuple, int] = {}
    for ids in sampled.texts():
        counts[tuple(ids)] = counts.get(tuple(ids), 0) + 1
    statistic, cells = 0.0, 0
    for ids in [(EOS,), *itertools.product(range(2, 5), range(1, 5))]:
        logprob = sum(float(log_softmax_after(model, prompt + list(ids[:t]))[token]) for t, token in enumerate(ids))
        expected = draws * torch.tensor(logprob).exp().item()
        statistic += (counts.pop(ids, 0) - expected) ** 2 / expected
        cells += 1
    assert not counts  # every sampled text is one of the cells
    assert statistic < 34.5  # chi-square, 12 degrees of freedom: the 0.999 quantile is 32.9
    assert cells == 13


def test_each_distinct_prompt_is_read_once():
    model, widths = tiny(), []
    draw(model, PROMPTS)  # also tries out the network's attention
    hook = model.model.embed_tokens.register_forward_hook(lambda _, arguments, __: widths.append(arguments[0].shape))
    draw(model, PROMPTS)
    hook.remove()
    assert widths[0] == (4, 7)  # four distinct prompts, the longest of seven tokens
    assert all(width[1] == 1 for width in widths[1:])
    assert [width[0] for width in widths[1:]] == sorted((width[0] for width in widths[1:]), reverse=True)


def test_an_empty_prompt_and_a_negative_temperature_are_refused():
    with pytest.raises(ValueError, match="prompts: one of them has no token"):
        draw(tiny(), [[]])
    with pytest.raises(ValueError, match="temperature: -1"):
        draw(tiny(), [[3]], temperature=-1)
