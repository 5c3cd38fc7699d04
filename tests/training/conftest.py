"""Tiny networks of real Hugging Face families with random weights, saved the usual way."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

TEXT = ["the cat sat on the mat, the dog ran.", "Reply with two words: one two three 1234."] * 20
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WITH_BOS = "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"


def byte_level_tokenizer(specials: list[str], bos_by_itself: bool = False, **names: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=specials,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if bos_by_itself:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def families() -> dict:
    """Return name -> (config, tokenizer); comments say what only that family has."""
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.3}
    # no pad token, end-of-text also BOS, no chat template, dropout in its config
    gpt2 = byte_level_tokenizer(["<|endoftext|>"], eos_token="<|endoftext|>", bos_token="<|endoftext|>")
    # pad is end-of-text
    neox = byte_level_tokenizer(["<|endoftext|>"], eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    # its own chat template, a pad token, grouped heads, embedding rows without a token
    qwen = byte_level_tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    qwen.chat_template = CHATML
    # a BOS that the tokenizer itself puts first, no pad token, no chat template
    llama = byte_level_tokenizer(["<s>", "</s>"], True, bos_token="<s>", eos_token="</s>")
    # a BOS that its template writes
    llama_with_template = byte_level_tokenizer(["<s>", "</s>"], True, bos_token="<s>", eos_token="</s>")
    llama_with_template.chat_template = WITH_BOS
    return {
        "gpt2": (
            GPT2Config(
                vocab_size=len(gpt2), n_embd=32, n_layer=2, n_head=4, n_positions=120, initializer_range=0.3,
                bos_token_id=0, eos_token_id=0,
            ),
            gpt2,
        ),
        "neox": (GPTNeoXConfig(vocab_size=len(neox), intermediate_size=64, hidden_dropout=0.1, **size), neox),
        "qwen2": (
            Qwen2Config(vocab_size=len(qwen) + 7, intermediate_size=64, num_key_value_heads=2, **size),
            qwen,
        ),
        "llama": (LlamaConfig(vocab_size=len(llama), intermediate_size=64, **size), llama),
        "llama_with_template": (
            LlamaConfig(vocab_size=len(llama_with_template), intermediate_size=64, **size),
            llama_with_template,
        ),
    }  # fmt: skip


FAMILIES = ("gpt2", "neox", "qwen2", "llama", "llama_with_template")


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return name -> folder of a random network, written by plain save_pretrained."""
    folder = tmp_path_factory.mktemp("networks")
    for name, (config, tokenizer) in families().items():
        torch.manual_seed(1)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return {name: folder / name for name in FAMILIES}


@pytest.fixture(params=FAMILIES)
def network(request: pytest.FixtureRequest, networks: dict[str, Path]) -> Path:
    """Return each family's folder in turn."""
    return networks[request.param]


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """Provide the module's pool of spawned processes."""
    from tests.training.processes import Workers

    pool = Workers()
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write small snapshots of the miniature world, and base/: an untrained network with its tokenizer and text."""
    from training.contract.configs import BaseConfig
    from training.miniature import world
    from training.miniature.__main__ import main
    from training.text.policy import new_transformer, save_policy
    from training.text.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("miniature")
    main([str(folder), "--demonstrations", "40", "--comparisons", "40", "--prompts", "20"])
    documents = list(world.corpus(0, 3000))
    tokenizer = train_tokenizer(documents, 400)
    torch.manual_seed(0)
    config = BaseConfig(hidden_size=32, intermediate_size=64, layers=2, heads=2)
    save_policy(new_transformer(config, tokenizer), tokenizer, folder / "base")
    (folder / "base" / "pretraining.txt").write_text("\n\n".join(documents), encoding="utf-8")
    return folder


@pytest.fixture
def labelers_data(miniature: Path, tmp_path: Path) -> Path:
    """Write the miniature's rankings by six labelers of the train pool and one held out."""
    from training.contract.records import COMPARISONS, ComparisonRecord, Pool, read, write

    records = list(read(miniature / "rm" / COMPARISONS, ComparisonRecord))
    records = [record.model_copy(update={"labeler": f"l{n % 6}"}) for n, record in enumerate(records)]
    unseen = [record for record in records if record.split != "train"]
    for number, record in enumerate(unseen * 3):  # each labeler judges prompts that are not trained on
        records.append(record.model_copy(update={"labeler": f"l{number % 6}", "prompt_key": f"more {number}"}))
    records.append(records[0].model_copy(update={"labeler": "h", "pool": Pool.HELD_OUT, "prompt_key": "h"}))
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / COMPARISONS, records)
    return tmp_path / "data"
