"""Tokenizers: loaded with a chat template and a pad token, or trained from text."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from training.contract.configs import Encoding
from training.networks.config import refusing
from training.text.formatting import CHAT_TEMPLATE, PLAIN_TEMPLATE, chat_of, end_of_turn

PAD, END = "<|pad|>", "<|end|>"
ROLE_TOKENS = ["<|system|>", "<|user|>", "<|assistant|>"]


def load_tokenizer(path: Path | str, config: Encoding | None = None) -> PreTrainedTokenizerBase:
    """Load a network folder's tokenizer, with a chat template and a pad token that is not its end-of-text token."""
    if not Path(path).is_dir():
        raise ValueError(f"{path}: no such network folder")
    with refusing(path, "its tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"{path}: its tokenizer has no end-of-text token, so that a completion could never end; name one and save "
            'it: tokenizer.eos_token = "..."'
        )
    if isinstance(named := tokenizer.chat_template, dict):
        if "default" not in named:
            raise ValueError(
                f"{path}: none of its chat templates ({', '.join(named)}) is named default; rename one to default"
            )
        tokenizer.chat_template = named["default"]
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id, end_of_turn(tokenizer)):
        tokenizer.add_special_tokens({"pad_token": _spare_token(tokenizer)})
    if config is not None:
        tokenizer.chat = chat_of(config)
    return tokenizer


def _spare_token(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a token to pad with: one reserved for padding or unused in the tokenizer, else a new one."""
    end = tokenizer.convert_ids_to_tokens(end_of_turn(tokenizer))
    taken = {tokenizer.eos_token, tokenizer.bos_token, tokenizer.unk_token, end}
    special = [each.content for each in tokenizer.added_tokens_decoder.values() if each.special]
    idle = [token for token in special if token not in taken and token not in str(tokenizer.chat_template)]
    return next((token for hint in ("pad", "reserved", "unused") for token in idle if hint in token.lower()), PAD)


def largest_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the largest token id; a vocabulary with holes has more ids than tokens."""
    vocabulary = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else {}
    return max([len(tokenizer) - 1, *vocabulary.values()])


def train_tokenizer(documents: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE with our role tokens: every text survives a round trip, unseen letters as bytes.

    A space is put before each text and removed by the decoder, so that a word is the same token at the start of a
    completion as in the middle of a sentence: a small network need not learn each word twice.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END, *ROLE_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, extra_special_tokens=ROLE_TOKENS
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
