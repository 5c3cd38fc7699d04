"""Record -> text -> tokens: the only place that knows the chat template and the masks.

tokens(prompt) + tokens(completion) is the same sequence in SFT, reward model, PPO and evaluation. An assistant's turn
has the same tokens as a completion and as history: template and text are tokenised separately wherever that could
matter. Text that spells a control token of the tokenizer stays text.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from training.contract.configs import Encoding
from training.contract.records import ComparisonRecord, DemonstrationRecord, Message

# One special token opens each turn, so that a miniature prompt spends two tokens on formatting.
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}<|assistant|>"
    "{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}"
    "{% else %}{{ '<|' + message['role'] + '|>' + message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

# For a network without its own template; turns end with a line break, so a completion needs no leading space.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ 'Assistant:\n' }}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}{{ '\n\n' }}"
    "{% else %}{{ (message['role'] | capitalize) + ':\n' + message['content'] + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}"
)

PROMPT_TOO_LONG = "prompts left out: longer than max_prompt_tokens"
PROMPT_REFUSED = "prompts left out: the chat template refuses them"
COMPLETION_CUT = "completions cut at max_completion_tokens (their end-of-text token with them)"


TODAY = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")


class Refused(ValueError):
    """The chat template rejects the prompt, or the tokenizer cannot encode its text without control tokens."""


class Chat(NamedTuple):
    """A run's settings of the chat template (configs.Encoding); a fixed date keeps tokens independent of the day."""

    fold_system: bool
    date: date


def chat_of(config: Encoding) -> Chat:
    """Return a config's settings of the chat template."""
    return Chat(config.fold_system, config.template_date)


def encode_prompt(tokenizer: Any, prompt: Sequence[Message]) -> list[int]:
    """Return a prompt's token ids up to where the completion starts; exactly one BOS if the tokenizer uses one.

    Raises Refused if the template rejects these turns, or a text cannot be encoded without control tokens.
    """
    chat = _chat(tokenizer)
    messages = [{"role": message.role, "content": message.text} for message in prompt]
    form = _form(tokenizer, tokenizer.chat_template, chat, tuple(message.role for message in prompt))
    if form.refused and chat.fold_system and [each["role"] for each in messages[:2]] == ["system", "user"]:
        system, user, *rest = messages
        messages = [{"role": "user", "content": f"{system['content']}\n\n{user['content']}"}, *rest]
        form = _form(tokenizer, tokenizer.chat_template, chat, tuple(each["role"] for each in messages))
    if form.refused:
        raise Refused(form.refused)
    ids = _encode(tokenizer, messages, {i for i, each in enumerate(messages) if each["role"] == "assistant"})
    if _control_tokens(tokenizer, ids) != form.control_tokens:  # a text spells a control token
        ids = _encode(tokenizer, messages, set(range(len(messages))))
    bos = _bos(tokenizer)
    return ids if ids[:1] == bos else [*bos, *ids]


def encode_completion(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of a completion, including the token that ends it."""
    return [*_encode_text(tokenizer, text), end_of_turn(tokenizer)]


def end_of_turn(tokenizer: Any) -> int:
    """Return the id of the token that ends an assistant's turn: the template's own, else the end-of-text token."""
    return _end_of_turn(tokenizer, tokenizer.chat_template, _chat(tokenizer))


def rewrites_answers(tokenizer: Any) -> bool:
    """Return whether the chat template changes an earlier answer, such as trimming it or dropping its reasoning."""
    answer = " <think>\nbecause\n</think>\n\nAn answer. "
    turns = [("user", "a question"), ("assistant", answer), ("user", "another")]
    return answer not in _render(tokenizer, [{"role": role, "content": text} for role, text in turns])


def decode_completion(tokenizer: Any, ids: Sequence[int]) -> str:
    """Decode sampled ids up to the token that ends the completion."""
    ends = {tokenizer.eos_token_id, end_of_turn(tokenizer)}
    length = next((place for place, i in enumerate(ids) if i in ends), len(ids))
    return tokenizer.decode(list(ids[:length]), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def encode_document(tokenizer: Any, text: str) -> list[int]:
    """Return a pretraining document's token ids, between BOS (if the tokenizer uses one) and end-of-text token."""
    return [*_bos(tokenizer), *_encode_text(tokenizer, text), tokenizer.eos_token_id]


def encode_demonstration(
    tokenizer: Any, record: DemonstrationRecord, max_prompt: int, max_completion: int, counts: Counter
) -> tuple[list[int], list[bool]] | None:
    """Return (ids, mask): prompt + completion, and which ids are the completion's; None if the prompt is left out."""
    prompt = _short_prompt(tokenizer, record.prompt, max_prompt, counts)
    if prompt is None:
        return None
    completion = _cut(encode_completion(tokenizer, record.completion), max_completion, counts)
    return prompt + completion, [False] * len(prompt) + [True] * len(completion)


def encode_comparison(
    tokenizer: Any, record: ComparisonRecord, max_prompt: int, max_completion: int, counts: Counter
) -> tuple[list[int], list[list[int]]] | None:
    """Return (prompt ids, ids of each completion in the record's order); None if the prompt is left out."""
    prompt = _short_prompt(tokenizer, record.prompt, max_prompt, counts)
    if prompt is None:
        return None
    return prompt, [
        _cut(encode_completion(tokenizer, completion.text), max_completion, counts) for completion in record.completions
    ]


def encode_prompts(
    tokenizer: Any, prompts: Iterable[Sequence[Message]], max_prompt: int, counts: Counter
) -> list[list[int] | None]:
    """Return the token ids of each prompt, None for one that is too long or refused."""
    return [_short_prompt(tokenizer, prompt, max_prompt, counts) for prompt in prompts]


def left_out(counts: Counter, config: Encoding) -> str:
    """Return the end of an error message if nothing is left: what was left out, how often, which key to raise."""
    found = [f"{count} {what}" for what, count in counts.items() if count and "left out" in what]
    if not found:
        return ""
    found[-1] += f"; raise max_prompt_tokens = {config.max_prompt_tokens}" if counts[PROMPT_TOO_LONG] else ""
    return ": " + ", ".join(found)


def _short_prompt(tokenizer: Any, prompt: Sequence[Message], max_prompt: int, counts: Counter) -> list[int] | None:
    try:
        ids = encode_prompt(tokenizer, prompt)
    except Refused as refused:
        counts[f"{PROMPT_REFUSED} ({refused})"] += 1
        return None
    if len(ids) > max_prompt:
        counts[PROMPT_TOO_LONG] += 1
        return None
    return ids


def _cut(ids: list[int], limit: int, counts: Counter) -> list[int]:
    if len(ids) > limit:
        counts[COMPLETION_CUT] += 1
    return ids[:limit]


class _Form(NamedTuple):
    """What the template does with turns of the given roles, whatever their text."""

    control_tokens: int = 0
    refused: str = ""


def _chat(tokenizer: Any) -> Chat:
    return getattr(tokenizer, "chat", None) or chat_of(Encoding())  # policy.load_tokenizer sets it


@lru_cache(maxsize=256)
def _form(tokenizer: Any, template: str, chat: Chat, roles: tuple[str, ...]) -> _Form:
    """Try the template on these roles; it is part of the cache key, since a tokenizer's template can change."""
    messages = [{"role": role, "content": "x"} for role in roles]
    try:
        parts = _around(tokenizer, messages, set(range(len(roles))))
    except Refused as refused:
        return _Form(refused=str(refused))
    ids = [i for part in parts for i in tokenizer(part, add_special_tokens=False)["input_ids"]]
    return _Form(_control_tokens(tokenizer, ids))


@lru_cache(maxsize=16)
def _end_of_turn(tokenizer: Any, template: str, chat: Chat) -> int:
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]
    try:
        _before, behind = _around(tokenizer, messages, {1}, answered=True)
    except Refused:
        return tokenizer.eos_token_id
    for i in tokenizer(behind, add_special_tokens=False)["input_ids"]:
        if i in control_ids(tokenizer):
            return i
        if tokenizer.decode([i]).strip():
            break  # text that the template writes after every turn
    return tokenizer.eos_token_id


def _around(tokenizer: Any, messages: list[dict[str, str]], apart: set[int], answered: bool = False) -> list[str]:
    """Render the prompt and split it where the texts of the messages `apart` belong; raises Refused."""
    markers = {index: f"\ue000{index}\ue001" for index in sorted(apart)}
    marked = [{**each, "content": markers.get(index, each["content"])} for index, each in enumerate(messages)]
    rest, parts = _render(tokenizer, marked, answered), []
    for index, marker in markers.items():
        before, found, rest = rest.partition(marker)
        if not found:
            raise Refused(f"the chat template leaves out the {messages[index]['role']} message")
        parts.append(before)
    return [*parts, rest]


def _render(tokenizer: Any, messages: list[dict[str, str]], answered: bool = False) -> str:
    template = _on_a_day(tokenizer.chat_template, _chat(tokenizer).date)
    try:
        return tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=not answered
        )
    except Exception as error:  # a template may raise anything, with its own message
        raise Refused(" ".join(str(error).split()) or type(error).__name__) from error


@lru_cache(maxsize=16)
def _on_a_day(template: str, day: date) -> str:
    """Return the template with `day` written in wherever it asks for today's date."""
    return TODAY.sub(lambda found: json.dumps(day.strftime(found[2])), template)


def _encode(tokenizer: Any, messages: list[dict[str, str]], apart: set[int]) -> list[int]:
    """Return the rendered prompt's token ids, with the texts of the messages `apart` tokenised separately."""
    first, *others = _around(tokenizer, messages, apart)
    ids = list(tokenizer(first, add_special_tokens=False)["input_ids"])
    for index, part in zip(sorted(apart), others, strict=True):
        ids += _encode_text(tokenizer, messages[index]["content"])
        ids += tokenizer(part, add_special_tokens=False)["input_ids"] if part else []
    return ids


def _encode_text(tokenizer: Any, text: str) -> list[int]:
    """Return a text's ids without control tokens, even if the text spells some; raises Refused if that fails."""
    for encode in (_splitting, _without_control_tokens):
        ids = encode(tokenizer, text)
        spelled = control_ids(tokenizer).intersection(ids)
        if not spelled:
            return ids
    token = tokenizer.convert_ids_to_tokens(min(spelled))
    raise Refused(f"a text spells {token}, which its tokenizer cannot read as text")


def _splitting(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def _without_control_tokens(tokenizer: Any, text: str) -> list[int]:
    plain = _plain(tokenizer)
    return plain.encode(text, add_special_tokens=False).ids if plain else _splitting(tokenizer, text)


@lru_cache(maxsize=4)
def _plain(tokenizer: Any) -> Tokenizer | None:
    """Return the tokenizer without the control tokens that it would find in text; None for a pure Python one."""
    if not getattr(tokenizer, "is_fast", False):
        return None
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    control = control_ids(tokenizer)
    state["added_tokens"] = [each for each in state["added_tokens"] if each["id"] not in control]
    return Tokenizer.from_str(json.dumps(state))


def _control_tokens(tokenizer: Any, ids: Sequence[int]) -> int:
    control = control_ids(tokenizer)
    return sum(i in control for i in ids)


def control_ids(tokenizer: Any) -> frozenset[int]:
    """Return the ids of all tokens that a template may write but a text may not: special ones and others added by name.

    The unknown token counts as text, as do runs of spaces, which some tokenizers add.
    """
    names = {name for name in ("bos_token_id", "eos_token_id", "pad_token_id") if getattr(tokenizer, name) is not None}
    return _added_ids(tokenizer, len(tokenizer)).union(getattr(tokenizer, name) for name in names)


@lru_cache(maxsize=16)
def _added_ids(tokenizer: Any, length: int) -> frozenset[int]:
    """Return the added tokens' ids; the length is part of the cache key, since tokens can be added later."""
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.content.strip()}
    return frozenset(added.union(tokenizer.all_special_ids) - {tokenizer.unk_token_id})


def _bos(tokenizer: Any) -> list[int]:
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and tokenizer("x")["input_ids"][:1] == [bos] else []
