"""Record -> text -> tokens: the only place that knows the chat template and the masks.

tokens(prompt) + tokens(completion) is the same sequence in SFT, reward model, PPO and evaluation: the two parts are
tokenised apart and joined, and text that reads like a special token stays text.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from training.records import ComparisonRecord, DemonstrationRecord, Message

# One special token opens each turn, so that a miniature prompt spends two tokens on its form.
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}<|assistant|>"
    "{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}"
    "{% else %}{{ '<|' + message['role'] + '|>' + message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

# For a network without a template of its own; turns end with a line break, so a completion needs no leading space.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ 'Assistant:\n' }}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}{{ '\n\n' }}"
    "{% else %}{{ (message['role'] | capitalize) + ':\n' + message['content'] + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}"
)

PROMPT_TOO_LONG = "prompts left out: longer than max_prompt_tokens"
COMPLETION_CUT = "completions cut at max_completion_tokens (their end-of-text token with them)"


def encode_prompt(tokenizer: Any, prompt: Sequence[Message]) -> list[int]:
    """Token ids of a prompt up to where the completion starts; exactly one BOS where the tokenizer uses one."""
    messages = [{"role": message.role, "content": message.text} for message in prompt]
    if any(token in message.text for message in prompt for token in tokenizer.all_special_tokens):
        ids = _encode_apart(tokenizer, messages)
    else:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    bos = tokenizer.bos_token_id
    if bos is not None and ids[:1] != [bos] and tokenizer("x")["input_ids"][:1] == [bos]:
        ids = [bos, *ids]
    return ids


def encode_completion(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a completion with its end-of-text token."""
    return [*_encode_text(tokenizer, text), tokenizer.eos_token_id]


def decode_completion(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of sampled ids up to their end-of-text token."""
    ids = list(ids)
    if tokenizer.eos_token_id in ids:
        ids = ids[: ids.index(tokenizer.eos_token_id)]
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def encode_document(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a pretraining document with its end-of-text token."""
    return encode_completion(tokenizer, text)


def encode_demonstration(
    tokenizer: Any, record: DemonstrationRecord, max_prompt: int, max_completion: int, counts: Counter
) -> tuple[list[int], list[bool]] | None:
    """(ids, mask): prompt + completion and which of them are the completion's; None if the prompt is too long."""
    prompt = _short_prompt(tokenizer, record.prompt, max_prompt, counts)
    if prompt is None:
        return None
    completion = _cut(encode_completion(tokenizer, record.completion), max_completion, counts)
    return prompt + completion, [False] * len(prompt) + [True] * len(completion)


def encode_comparison(
    tokenizer: Any, record: ComparisonRecord, max_prompt: int, max_completion: int, counts: Counter
) -> tuple[list[int], list[list[int]]] | None:
    """(prompt ids, ids of each completion in the record's order); None if the prompt is too long."""
    prompt = _short_prompt(tokenizer, record.prompt, max_prompt, counts)
    if prompt is None:
        return None
    return prompt, [
        _cut(encode_completion(tokenizer, completion.text), max_completion, counts) for completion in record.completions
    ]


def encode_prompts(
    tokenizer: Any, prompts: Iterable[Sequence[Message]], max_prompt: int, counts: Counter
) -> list[list[int] | None]:
    """Token ids of each prompt, None for one that is too long."""
    return [_short_prompt(tokenizer, prompt, max_prompt, counts) for prompt in prompts]


def _short_prompt(tokenizer: Any, prompt: Sequence[Message], max_prompt: int, counts: Counter) -> list[int] | None:
    ids = encode_prompt(tokenizer, prompt)
    if len(ids) > max_prompt:
        counts[PROMPT_TOO_LONG] += 1
        return None
    return ids


def _cut(ids: list[int], limit: int, counts: Counter) -> list[int]:
    if len(ids) > limit:
        counts[COMPLETION_CUT] += 1
    return ids[:limit]


def _encode_text(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def _encode_apart(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    """Encode a prompt whose text holds a special token's spelling: the template's tokens and the text apart."""
    markers = [f"\ue000{index}\ue001" for index in range(len(messages))]
    marked = [{**message, "content": marker} for message, marker in zip(messages, markers, strict=True)]
    rest = tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=True)
    ids: list[int] = []
    for marker, message in zip(markers, messages, strict=True):
        before, found, rest = rest.partition(marker)
        if not found:
            raise ValueError(
                f"the chat template leaves out the {message['role']} message; its prompts cannot be encoded"
            )
        ids += tokenizer(before, add_special_tokens=False)["input_ids"]
        ids += _encode_text(tokenizer, message["content"])
    return ids + tokenizer(rest, add_special_tokens=False)["input_ids"]
