"""Folders written by other people and tools: read as transformers reads them, or refused in one sentence."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    LlamaConfig,
    MptConfig,
    MptForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    RobertaConfig,
    RobertaForCausalLM,
)

from training import try_network
from training.fast.shared_prefix import max_positions
from training.reward.model import load_reward_model, new_reward_model
from training.text.formatting import encode_completion
from training.text.policy import forbidden_token_ids, load_policy, stop_ids
from training.text.sampler import sample
from training.text.tokenizer import load_tokenizer


@pytest.fixture
def folder(networks, tmp_path):
    """Copy a small network, which a test may spoil."""
    return shutil.copytree(networks["llama"], tmp_path / "network")


def rewrite(path, **changes) -> None:
    """Change a JSON file; None removes a key."""
    held = {**(json.loads(path.read_text()) if path.is_file() else {}), **changes}
    path.write_text(json.dumps({key: value for key, value in held.items() if value is not None}))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_a_folder_is_never_run(folder, tmp_path, monkeypatch, file):
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: pass\n")
    own = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own", "AutoTokenizer": ["own.Own", "own.Own"]}
    rewrite(folder / file, auto_map=own, **({"model_type": "of my own"} if file == "config.json" else {}))
    if file != "config.json":
        rewrite(folder / file, tokenizer_class="Own")
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers would ask, and a user agree
    try:
        load_policy(folder)
    except ValueError as refused:
        assert "\n" not in str(refused) and "trust_remote_code=True" not in str(refused)
    assert not ran.exists()


def test_what_pads_never_ends_a_turn(networks, folder):
    """A template's turns end with the same token that the tokenizer pads with."""
    tokenizer = load_tokenizer(folder)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|turn|>"]})
    tokenizer.pad_token = "<|turn|>"
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<|turn|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    model, tokenizer = load_policy(folder)
    end = encode_completion(tokenizer, "yes")[-1]
    assert tokenizer.convert_ids_to_tokens(end) == "<|turn|>" and end in stop_ids(model, tokenizer)
    assert tokenizer.pad_token_id != end and end not in forbidden_token_ids(model, tokenizer)


def test_another_network_s_tokenizer_is_refused_and_added_tokens_are_not(folder):
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens(["<tool>"])
    tokenizer.save_pretrained(folder)
    load_policy(folder)
    tensors = load_file(folder / "model.safetensors")
    rows = tensors["model.embed_tokens.weight"].shape[0] - 40
    cut = {key: value[:rows].clone() if "embed" in key or "lm_head" in key else value for key, value in tensors.items()}
    save_file(cut, folder / "model.safetensors", metadata={"format": "pt"})
    rewrite(folder / "config.json", vocab_size=rows)
    with pytest.raises(ValueError, match="tokenizer belongs to another network"):
        load_policy(folder)


@pytest.mark.parametrize("weights", [True, False])
def test_an_adapter_is_never_put_on_top_of_weights(folder, weights):
    rewrite(folder / "adapter_config.json", base_model_name_or_path="the/base")
    if not weights:
        (folder / "model.safetensors").unlink()
    with pytest.raises(
        ValueError, match="weights and an adapter" if weights else "adapter alone; merge it into the/base"
    ):
        load_policy(folder)


def test_a_long_prompt_changes_nothing_of_what_short_ones_beside_it_become():
    torch.manual_seed(0)
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "rope_theta": 10000.0}
    rope["original_max_position_embeddings"] = 40
    config = Phi3Config(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, pad_token_id=0,
        num_key_value_heads=4, max_position_embeddings=128, original_max_position_embeddings=40, rope_parameters=rope,
        initializer_range=0.4,
    )  # fmt: skip
    model = Phi3ForCausalLM(config).eval()
    prompts = [list(range(3, 3 + length)) for length in (6, 9, 60)]
    keys = {"max_new_tokens": 8, "eos_token_id": 63, "forbidden": torch.tensor([0]), "temperature": 0.0}
    together = sample(model, prompts, generator=torch.Generator().manual_seed(1), **keys)
    for row, prompt in enumerate(prompts):
        alone = sample(model, [prompt], generator=torch.Generator().manual_seed(1), **keys)
        assert together.tokens[row][together.mask[row]].tolist() == alone.tokens[0][alone.mask[0]].tolist()
        said = model.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False, eos_token_id=63)
        assert said[0, len(prompt) :].tolist() == alone.tokens[0][alone.mask[0]].tolist()


def test_of_templates_with_names_the_default_is_used(folder):
    plain = load_tokenizer(folder).chat_template
    named = [{"name": "default", "template": plain}, {"name": "rag", "template": "x"}]
    rewrite(folder / "tokenizer_config.json", chat_template=named)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    assert load_tokenizer(folder).chat_template == plain
    rewrite(folder / "tokenizer_config.json", chat_template=named[1:])
    with pytest.raises(ValueError, match=r"none of its chat templates \(rag\) is named default"):
        load_tokenizer(folder)


@pytest.mark.parametrize("index", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
def test_an_index_left_beside_the_whole_file_is_passed_over_as_transformers_does(folder, index):
    rewrite(folder / index, weight_map={"model.norm.weight": "gone-00001-of-00002.safetensors"})
    load_policy(folder)


def test_a_head_of_two_labels_starts_a_reward_model_and_is_none(networks, folder):
    config = LlamaConfig.from_pretrained(networks["llama"], num_labels=2)
    AutoModelForSequenceClassification.from_pretrained(networks["llama"], config=config).save_pretrained(folder)
    with pytest.raises(ValueError, match=r"wrong shape of score\.weight"):
        load_reward_model(folder)
    model, _ = new_reward_model(folder)
    assert model.score.weight.shape[0] == 1


def _bin(content: bytes):
    def change(folder) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(content)

    return change


SPOILT = {
    "a pointer in place of a file": _bin(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    "an empty file": _bin(b""),
    "a pad token beyond the vocabulary": lambda folder: rewrite(folder / "config.json", pad_token_id=10**6),
    "heads that do not divide": lambda folder: rewrite(folder / "config.json", num_attention_heads=5, head_dim=None),
    "a number as text": lambda folder: rewrite(folder / "config.json", vocab_size="many"),
    "an unknown type of numbers": lambda folder: rewrite(folder / "config.json", dtype="float12"),
    "an unknown kind": lambda folder: rewrite(folder / "config.json", model_type="of_my_own"),
    "a kind that writes no text": lambda folder: rewrite(folder / "config.json", model_type="clip"),
    "an encoder with a decoder": lambda folder: rewrite(folder / "config.json", model_type="t5"),
    "an unknown tokenizer": lambda folder: rewrite(folder / "tokenizer.json", model={"type": "OfMyOwn"}),
    "an unknown activation": lambda folder: rewrite(folder / "config.json", hidden_act="swishy"),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_whatever_transformers_raises_is_one_sentence_with_the_folder(folder, spoil, capsys):
    spoil(folder)
    assert try_network.main([str(folder)]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"try_network: {folder}: ") and len(said) < len(str(folder)) + 420


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model."])
def test_a_network_saved_in_its_wrapping_is_told_by_the_prefix(folder, prefix):
    tensors = load_file(folder / "model.safetensors")
    save_file({prefix + key: value for key, value in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=f"named with “{prefix}"):
        load_policy(folder)


@pytest.mark.parametrize(
    ("name", "way_out"),
    [("global_step9/x.pt", "zero_to_fp32"), ("m.gguf", "GGUF"), ("a/__0_0.distcp", "FSDP"),
     ("consolidated.safetensors", "for transformers")],
)  # fmt: skip
def test_weights_of_other_tools_are_told_by_their_kind(folder, name, way_out):
    (folder / "model.safetensors").unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=way_out):
        load_policy(folder)


def test_positions_are_counted_as_the_family_counts_them():
    small = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    roberta = RobertaConfig(**small, intermediate_size=48, max_position_embeddings=34, is_decoder=True, pad_token_id=1)
    model = RobertaForCausalLM(roberta).eval()
    assert max_positions(model) == 32
    model(torch.full((1, 32), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, 33), 5))
    mpt = MptConfig(vocab_size=64, d_model=32, n_layers=1, n_heads=4, max_seq_len=40)
    assert max_positions(MptForCausalLM(mpt)) == 40


def test_what_a_network_s_files_hold_for_nothing_is_told(folder):
    rewrite(folder / "config.json", num_hidden_layers=1, layer_types=None)
    (weights,) = [one for one in try_network.tried(folder)["findings"] if one["check"] == "weights"]
    assert weights["verdict"] == "note" and "No part of it uses model.layers.1." in weights["said"]


def test_a_template_that_drops_reasoning_from_earlier_answers_is_told(folder):
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'].split('</think>')[-1] + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    (earlier,) = [one for one in try_network.tried(folder)["findings"] if one["check"] == "earlier answers"]
    assert earlier["verdict"] == "note" and "drops their reasoning" in earlier["said"]
