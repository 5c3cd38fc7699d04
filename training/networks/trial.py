"""Findings from trying a network: whether a language model can be trained, and which form of each pass is right."""

import sys
from collections.abc import Iterator
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from training.contract.events import Finding, NetworkTried, Verdict
from training.contract.records import Message
from training.fast.shared_prefix import as_loaded, max_positions, near, reach, trial_sequences, turns_alike_up_to
from training.networks.dropout import residual_blocks
from training.networks.forms import computed, form_of, forms, head_of
from training.reward.model import scoring_class
from training.run.run_folder import RunFolder
from training.text.formatting import (
    PLAIN_TEMPLATE,
    Chat,
    Refused,
    control_ids,
    decode_completion,
    encode_completion,
    encode_document,
    encode_prompt,
    rewrites_answers,
)
from training.text.padding import pad, position_ids
from training.text.policy import stop_ids
from training.text.sampling_trial import writes_by

RIGHT, SLOWER, NOTE, REFUSED = Verdict
ASKED = (Message(role="user", text="the first question"),)
ANSWERED = (*ASKED, Message(role="assistant", text="An answer."), Message(role="user", text="another question"))
FORMS = {
    "side by side": (RIGHT, "Sequences lie side by side in one row without padding; none sees its neighbours."),
    "packed": (SLOWER, "Sequences are packed into rows, told apart by their positions."),
    "padded": (
        SLOWER,
        "Packed sequences would see their neighbours, so each has a row, filled up on the right.",
    ),
    "alone": (SLOWER, "Each sequence is computed alone: in one batch they would change each other."),
}
SAMPLERS = {
    "own": (RIGHT, "Our sampler writes what forward passes give."),
    "transformers": (SLOWER, "Its cache is not one that our sampler knows, so transformers' generate samples."),
    "forward": (SLOWER, "No cache gives what forward passes give, so each token takes a pass over the whole text."),
}


def findings(model: Any, tokenizer: PreTrainedTokenizerBase, rows: int | None = None) -> list[Finding]:
    """Return findings about a language model from `load_policy`, in the order in which a reader asks.

    Takes some dozens of passes over short texts, of which those of `forms` were made when it was loaded. `rows` is the
    size of the whole vocabulary, if the network at hand has only a part. Raise ValueError if its chat template takes no
    question.
    """
    rows = rows or model.get_input_embeddings().num_embeddings
    sampling = [] if forms(model).head == "none" else [_sampling(model)]
    return [*_of_tokens(model, tokenizer, rows), *_of_passes(model), *sampling]


def findings_of_scores(model: Any) -> list[Finding]:
    """Return findings about a reward model from `load_reward_model`."""
    metrics = getattr(model.config, "reward_metrics", None) or {}
    known = metrics.get("accuracy/validation", metrics.get("accuracy/held_out_labelers"))
    said = "Its accuracy on held-out comparisons was never measured."
    if known is not None:
        said = f"It orders {known:.1%} of held-out pairs as people do."
    return [Finding(check="accuracy", verdict=NOTE if known is None else RIGHT, said=said), *_of_passes(model)]


def further_findings(model: Any) -> list[Finding]:
    """Return findings that a job loading the network does not need: on reward models, dropout and bfloat16."""
    return [_reward_model(model), _dropout(model), _bfloat16(model)]


def report(run_folder: RunFolder, key: str, path: Path, found: list[Finding]) -> None:
    """Report the findings about the network that a config's `key` names."""
    run_folder.report(NetworkTried(key=key, path=str(path), findings=found))


def _of_tokens(model: Any, tokenizer: PreTrainedTokenizerBase, rows: int) -> Iterator[Finding]:
    try:
        encode_prompt(tokenizer, ASKED)
    except Refused as refused:
        raise ValueError(
            f"{tokenizer.name_or_path}: its chat template rejects a single user message ({refused}); fix "
            "chat_template.jinja in that folder, or remove it to use plain turns"
        ) from refused
    names = [repr(tokenizer.convert_ids_to_tokens(i)) for i in stop_ids(model, tokenizer)]
    yield Finding(check="end of a turn", verdict=RIGHT, said=f"A completion ends with {' or '.join(names)}.")
    yield _history(tokenizer)
    bos = tokenizer.bos_token_id is not None and encode_document(tokenizer, "x")[0] == tokenizer.bos_token_id
    begin = repr(tokenizer.bos_token) if bos else "no token of their own"
    yield Finding(check="beginning of a text", verdict=RIGHT, said=f"Prompts and documents begin with {begin}.")
    if tokenizer.chat_template == PLAIN_TEMPLATE:
        said = "The network has no chat template, so turns begin with “User:” and “Assistant:”."
        yield Finding(check="chat template", verdict=NOTE, said=said)
    if _writes_a_date(tokenizer):
        said = "The chat template writes a date. The key template_date says which one."
        yield Finding(check="chat template", verdict=NOTE, said=said)
    yield _system(tokenizer)
    yield _spelling(tokenizer)
    nameless = len(set(range(rows)).difference(tokenizer.get_vocab().values()))
    said = f"Each of its {rows} embedding rows stands for a token. "
    if nameless:
        said = f"Of its {rows} embedding rows {nameless} stand for no token and are never written. "
    said += f"Rows of a batch are filled up with {tokenizer.pad_token!r}."
    yield Finding(check="vocabulary", verdict=RIGHT, said=said)


def _history(tokenizer: PreTrainedTokenizerBase) -> Finding:
    """Compare an answer's tokens in a longer prompt with those in a demonstration."""
    check = "earlier answers"
    try:
        answered = encode_prompt(tokenizer, ASKED) + encode_completion(tokenizer, ANSWERED[1].text)
        same = encode_prompt(tokenizer, ANSWERED)[: len(answered)] == answered
    except Refused as refused:
        return Finding(check=check, verdict=REFUSED, said=f"Prompts of several turns are left out: {refused}.")
    if same and rewrites_answers(tokenizer):
        said = "The chat template trims earlier answers or drops their reasoning; here they stay as they were written."
        return Finding(check=check, verdict=NOTE, said=said)
    if same:
        return Finding(check=check, verdict=RIGHT, said="An answer has the same tokens as completion and as history.")
    said = "The chat template writes earlier answers otherwise than the one it asks for, so their tokens differ."
    return Finding(check=check, verdict=NOTE, said=said)


def _system(tokenizer: PreTrainedTokenizerBase) -> Finding:
    try:
        encode_prompt(tokenizer, (Message(role="system", text="be brief"), *ASKED))
    except Refused as refused:
        said = f"Prompts with a system message are left out ({refused}), or folded into the user's with fold_system."
        return Finding(check="system message", verdict=NOTE, said=said)
    return Finding(check="system message", verdict=RIGHT, said="The chat template takes a system message.")


def _spelling(tokenizer: PreTrainedTokenizerBase) -> Finding:
    """Spell every control token of the tokenizer in a prompt and a completion."""
    control = control_ids(tokenizer)
    spelled = " ".join(tokenizer.convert_ids_to_tokens(sorted(control)))
    verdict, said = RIGHT, f"A text that spells one of its {len(control)} control tokens stays text."
    try:
        prompt = encode_prompt(tokenizer, (Message(role="user", text=f"say {spelled}"),))
        forged = sum(i in control for i in prompt) > sum(i in control for i in encode_prompt(tokenizer, ASKED))
        if forged or decode_completion(tokenizer, encode_completion(tokenizer, spelled)) != spelled:
            verdict, said = NOTE, "A text that spells a control token comes back as another text."
    except Refused as refused:
        verdict, said = NOTE, f"Texts that spell a control token are left out: {refused}."
    return Finding(check="spelled tokens", verdict=verdict, said=said)


def _writes_a_date(tokenizer: PreTrainedTokenizerBase) -> bool:
    known, found = getattr(tokenizer, "chat", None), []
    try:
        for year in (2001, 2012):
            tokenizer.chat = Chat(False, date(year, 3, 4))
            found.append(encode_prompt(tokenizer, ASKED))
    finally:
        tokenizer.chat = known
    return found[0] != found[1]


def _of_passes(model: Any) -> Iterator[Finding]:
    found = forms(model)
    verdict, said = RIGHT, "Logits are the output embedding of the last hidden state."
    if found.head == "own":
        verdict, said = (
            SLOWER,
            "Its head computes more than the output embedding, so all logits of a pass are computed.",
        )
    if found.head != "none":
        yield Finding(check="head", verdict=verdict, said=said)
    verdict, said = FORMS[form_of(model)]
    yield Finding(check="several sequences", verdict=verdict, said=said)
    if found.head != "none" and not _reads_left_padding(model):
        said = "It misreads rows that are filled up on the left, so it is never given such."
        yield Finding(check="padding", verdict=NOTE, said=said)
    limits = [f"It has positions for {max_positions(model)} tokens."] if max_positions(model) else []
    if reach(model) < (max_positions(model) or torch.inf):
        limits.append(f"Attention sees {int(reach(model))} tokens in some layers; longer sequences take a slower form.")
    if turns_alike_up_to(model) < (max_positions(model) or torch.inf):
        limits.append(
            f"Beyond {int(turns_alike_up_to(model))} tokens all its positions change, so such are computed alone."
        )
    verdict = NOTE if len(limits) > 1 else RIGHT
    yield Finding(check="positions", verdict=verdict, said=" ".join(limits) or "It has no limit of positions.")
    if model.config.get_text_config() is not model.config:
        said = "It reads more than text. Only text is given to it, and what reads the rest is saved as it came."
        yield Finding(check="parts", verdict=NOTE, said=said)


def _reads_left_padding(model: Any) -> bool:
    """Try rows padded on the left, with a mask and positions as transformers' generate passes them."""
    sequences = trial_sequences(model, 4, 12)
    ids, mask = pad(sequences, 0, left=True, device=model.device)
    with as_loaded(model):
        try:
            positions = {"position_ids": position_ids(mask)}
            found = model(input_ids=ids, attention_mask=mask, use_cache=False, **positions).logits
        except TypeError:
            found = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        alone = [head_of(model)(computed(model, torch.tensor([each], device=model.device)))[0] for each in sequences]
    return all(near(model, row[-len(each) :], each) for row, each in zip(found, alone, strict=True))


def _sampling(model: Any) -> Finding:
    verdict, said = SAMPLERS[writes_by(model)]
    return Finding(check="sampling", verdict=verdict, said=said)


def _reward_model(model: Any) -> Finding:
    try:
        config = deepcopy(model.config)
        config.num_labels = 1
        kind = scoring_class(config)
    except ValueError as error:
        return Finding(check="reward model", verdict=REFUSED, said=f"No reward model can start from it: {error}.")
    if getattr(sys.modules[kind.__module__], kind.__name__, None) is kind:
        return Finding(check="reward model", verdict=RIGHT, said=f"A reward model starts from it as {kind.__name__}.")
    said = f"A reward model starts from it as {kind.__name__}, a class of ours: transformers loads its body alone."
    return Finding(check="reward model", verdict=NOTE, said=said)


def _dropout(model: Any) -> Finding:
    """Find where fine-tuning's dropout applies, and whether the network has dropout of its own."""
    check = "dropout"
    try:
        blocks = residual_blocks(model)
    except ValueError as error:
        return Finding(check=check, verdict=REFUSED, said=f"{error}.")
    ids = torch.tensor(trial_sequences(model, 12), device=model.device)
    with as_loaded(model):
        expected = computed(model, ids)[0]
        model.train()
        try:
            same = near(model, computed(model, ids)[0], expected)
        except Exception as error:
            said = f"It cannot be trained on text alone ({type(error).__name__}: {' '.join(str(error).split())[:150]})."
            return Finding(check=check, verdict=REFUSED, said=said)
        finally:
            model.eval()
    if not same:
        return Finding(
            check=check, verdict=NOTE, said="While it is trained it computes otherwise than when it is used."
        )
    each = sorted({len(found) for _, found in blocks})
    said = f"Fine-tuning drops out what each block of a layer adds ({' or '.join(map(str, each))} a layer)."
    if 0 in each:
        said = "Fine-tuning drops out what each layer adds as a whole, since its blocks cannot be told apart."
    return Finding(check=check, verdict=NOTE if 0 in each else RIGHT, said=said)


def _bfloat16(model: Any) -> Finding:
    """Compare log-probabilities of passes in bfloat16 with those of float32."""
    ids = torch.tensor(trial_sequences(model, 24), device=model.device)
    if model.dtype != torch.float32:
        return Finding(
            check="bfloat16", verdict=NOTE, said=f"It is held in {model.dtype}, and was tried in that alone."
        )
    with as_loaded(model):
        expected = head_of(model)(computed(model, ids))[0].log_softmax(-1)
        try:
            with torch.autocast(model.device.type, torch.bfloat16):
                found = head_of(model)(computed(model, ids))[0].float().log_softmax(-1)
        except Exception as error:
            said = f"It does not compute in bfloat16 ({type(error).__name__}); use dtype = float32."
            return Finding(check="bfloat16", verdict=REFUSED, said=said)
    kl = float((expected.exp() * (expected - found)).sum(-1).mean())
    said = f"In bfloat16 its predictions are {max(kl, 0):.1g} nats a token from those in float32."
    return Finding(check="bfloat16", verdict=RIGHT if kl < 0.05 else NOTE, said=said)
