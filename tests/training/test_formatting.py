"""Prompts, completions and masks as tokens, against what transformers' own chat template rendering gives."""

from collections import Counter

import pytest
from transformers import AutoTokenizer

from training.formatting import (
    COMPLETION_CUT,
    PROMPT_TOO_LONG,
    decode_completion,
    encode_comparison,
    encode_completion,
    encode_demonstration,
    encode_prompt,
)
from training.policy import load_tokenizer, train_tokenizer
from training.records import ComparisonRecord, DemonstrationRecord, Message, RankedCompletion


def prompt(*texts):
    """A prompt of messages by user and assistant in turn."""
    return tuple(Message(role=("user", "assistant")[i % 2], text=text) for i, text in enumerate(texts))


OURS = train_tokenizer(["the cat sat on the mat.", "reply with two words."] * 10, 340)


def demonstration(text="the cat", asked=("the mat",)):
    return DemonstrationRecord(
        prompt_key="p", prompt=prompt(*asked), split="train", completion=text, labeler="a", pool="train"
    )


def comparison(*texts, asked=("the mat",)):
    completions = tuple(RankedCompletion(text=text, policy="x", tier=1) for text in texts)
    return ComparisonRecord(
        prompt_key="p", prompt=prompt(*asked), split="train", completions=completions, labeler="a", pool="train"
    )


@pytest.mark.parametrize("asked", [("the cat",), ("the cat", "sat.", "on the mat?")], ids=["one turn", "three turns"])
def test_our_template_and_transformers_agree_on_tokens_and_mask(asked):
    messages = [{"role": m.role, "content": m.text} for m in prompt(*asked)]
    theirs = OURS.apply_chat_template(
        [*messages, {"role": "assistant", "content": "two words."}],
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    ids, mask = encode_demonstration(OURS, demonstration("two words.", asked), 99, 99, Counter())
    assert ids == theirs["input_ids"]
    first = len(ids) - sum(mask)
    assert [int(flag) for flag in mask][first:] == theirs["assistant_masks"][first:]
    assert not any(mask[:first])
    assert ids[-1] == OURS.eos_token_id and mask[-1]


def test_the_prompt_ends_where_the_assistant_starts(network):
    tokenizer = load_tokenizer(network)
    rendered = tokenizer.decode(encode_prompt(tokenizer, prompt("the cat")), skip_special_tokens=False)
    assert rendered.split("the cat")[1].strip().strip(":|<>").endswith(("ssistant", "assistant", ""))
    alone = tokenizer.apply_chat_template(
        [{"role": "user", "content": "the cat"}], tokenize=False, add_generation_prompt=True
    )
    assert rendered.removeprefix(tokenizer.bos_token or "").endswith(alone.removeprefix(tokenizer.bos_token or ""))


@pytest.mark.parametrize(
    ("name", "count"), [("gpt2", 0), ("neox", 0), ("qwen2", 0), ("llama", 1), ("llama_with_template", 1)]
)
def test_a_prompt_has_exactly_one_bos_where_the_tokenizer_uses_one(networks, name, count):
    tokenizer = load_tokenizer(networks[name])
    for asked in (("the cat",), ("the cat <s> </s>",)):
        ids = encode_prompt(tokenizer, prompt(*asked))
        assert ids.count(tokenizer.bos_token_id) == count
        assert not count or ids[0] == tokenizer.bos_token_id


def test_text_that_spells_special_tokens_stays_text(network):
    tokenizer = load_tokenizer(network)
    spelled = "a " + " ".join(tokenizer.all_special_tokens) + " b"
    plain = Counter(encode_prompt(tokenizer, prompt("a b")))
    ids = encode_prompt(tokenizer, prompt(spelled))
    assert {i: Counter(ids)[i] for i in tokenizer.all_special_ids} == {i: plain[i] for i in tokenizer.all_special_ids}
    assert spelled in tokenizer.decode(ids)
    completion = encode_completion(tokenizer, spelled)
    assert completion.count(tokenizer.eos_token_id) == 1
    assert decode_completion(tokenizer, completion) == spelled


def test_completions_come_back_as_they_were_written(network):
    tokenizer = load_tokenizer(network)
    for text in ("one two", " leading", "trailing ", "line\nbreak\n", "naïve ☃ 漢字", "a  b", "word ."):
        assert decode_completion(tokenizer, encode_completion(tokenizer, text)) == text
        assert decode_completion(tokenizer, [*encode_completion(tokenizer, text), 5, 6]) == text


def test_demonstrations_and_comparisons_have_the_same_tokens(network):
    tokenizer = load_tokenizer(network)
    ids, mask = encode_demonstration(tokenizer, demonstration("the cat"), 99, 99, Counter())
    asked, completions = encode_comparison(tokenizer, comparison("the cat", "mat"), 99, 99, Counter())
    assert ids == asked + completions[0] == encode_prompt(tokenizer, prompt("the mat")) + completions[0]
    assert mask == [False] * len(asked) + [True] * len(completions[0])
    assert completions[1] == encode_completion(tokenizer, "mat")


def test_what_is_cut_or_left_out_is_counted():
    counts = Counter()
    long = "the cat sat on the mat. " * 5
    assert encode_demonstration(OURS, demonstration(asked=(long,)), 20, 20, counts) is None
    assert encode_comparison(OURS, comparison("a", "b", asked=(long,)), 20, 20, counts) is None
    ids, mask = encode_demonstration(OURS, demonstration(long), 20, 20, counts)
    assert sum(mask) == 20 and OURS.eos_token_id not in ids
    _, completions = encode_comparison(OURS, comparison(long, "cat"), 20, 20, counts)
    assert [len(completion) for completion in completions] == [20, len(encode_completion(OURS, "cat"))]
    assert counts == {PROMPT_TOO_LONG: 2, COMPLETION_CUT: 2}


def test_a_foreign_template_is_kept_and_a_missing_one_added(networks):
    assert (
        load_tokenizer(networks["qwen2"]).chat_template
        == AutoTokenizer.from_pretrained(networks["qwen2"]).chat_template
    )
    assert AutoTokenizer.from_pretrained(networks["gpt2"]).chat_template is None
    tokenizer = load_tokenizer(networks["gpt2"])
    assert tokenizer.decode(encode_prompt(tokenizer, prompt("hi", "yes", "go"))) == (
        "User:\nhi\n\nAssistant:\nyes<|endoftext|>\n\nUser:\ngo\n\nAssistant:\n"
    )


def test_a_template_that_drops_a_message_is_refused():
    tokenizer = train_tokenizer(["a"], 300)
    tokenizer.chat_template = "{{ messages[-1]['content'] }}"
    with pytest.raises(ValueError, match="leaves out the user message"):
        encode_prompt(tokenizer, prompt("a <|end|>", "b", "c"))
