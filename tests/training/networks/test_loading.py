"""Incomplete network folders are refused in one sentence; what is added to a network involves no randomness."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from training.reward.model import load_reward_model, new_reward_model, save_reward_model
from training.text.formatting import encode_completion
from training.text.policy import forbidden_token_ids, load_policy, save_policy, stop_ids
from training.text.tokenizer import largest_id, load_tokenizer


@pytest.fixture
def folder(networks, tmp_path):
    """Copy a network, which a test may break."""
    return shutil.copytree(networks["llama"], tmp_path / "llama")


def changed(folder, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["model.norm.weight", "lm_head.weight", "model.layers.1.mlp.up_proj.weight"])
def test_a_network_that_lacks_a_tensor_is_refused_by_its_name(folder, name):
    changed(folder, lambda tensors: tensors.pop(name))
    with pytest.raises(ValueError, match=rf"lacks {name} of a LlamaForCausalLM, which would be random"):
        load_policy(folder)


def test_a_tensor_of_another_shape_and_one_with_nan_are_refused(folder):
    changed(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(5)}))
    with pytest.raises(ValueError, match=r"model\.norm\.weight|norm"):
        load_policy(folder)
    changed(folder, lambda tensors: tensors.update({"model.norm.weight": torch.full((32,), torch.nan)}))
    with pytest.raises(ValueError, match=r"model\.norm\.weight holds NaN or infinity"):
        load_policy(folder)


def test_a_reward_model_without_its_head_is_refused_and_not_given_a_random_one(networks, tmp_path):
    model, tokenizer = new_reward_model(networks["llama"])
    model.config.reward_metrics = {"accuracy/validation": 0.9}
    save_reward_model(model, tokenizer, tmp_path)
    assert load_reward_model(tmp_path)[0].score.weight.equal(model.score.weight)
    changed(tmp_path, lambda tensors: tensors.pop("score.weight"))
    with pytest.raises(
        ValueError, match=r"lacks score\.weight of a LlamaForSequenceClassification, which would be random"
    ):
        load_reward_model(tmp_path)


def test_a_torn_file_of_weights_is_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="transformers cannot load it"):
        load_policy(folder)


def test_a_tokenizer_without_an_end_is_refused_with_the_way_out(folder):
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("eos_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"no end-of-text token.*tokenizer\.eos_token ="):
        load_tokenizer(folder)


def test_a_row_to_pad_with_is_the_same_in_every_load_and_no_chance_enters_it(folder):
    torch.manual_seed(1)
    first, tokenizer = load_policy(folder)
    torch.manual_seed(2)
    second, _ = load_policy(folder)
    for name, weights in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], weights), name
    assert not first.get_input_embeddings().weight[tokenizer.pad_token_id].any()
    assert not first.get_output_embeddings().weight[tokenizer.pad_token_id].any()


def test_a_token_that_the_vocabulary_keeps_for_padding_saves_a_row(networks, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(networks["llama"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|reserved_special_token_0|>", "<|right_pad_id|>"]})
    model = AutoModelForCausalLM.from_pretrained(networks["llama"])
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, loaded_tokenizer = load_policy(tmp_path)
    assert loaded_tokenizer.pad_token == "<|right_pad_id|>"
    assert loaded.get_input_embeddings().num_embeddings == len(tokenizer)


def test_adapters_load_on_the_base_that_they_were_trained_on(folder, tmp_path):
    from peft import PeftModel

    from training.run.lora import save_and_merge, with_adapters

    model, _ = load_policy(folder)  # with one row more than its base
    adapted = with_adapters(model, 2)
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights)
    save_and_merge(adapted, tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(folder)
    again = PeftModel.from_pretrained(base, tmp_path / "adapter")
    ids = torch.arange(3, 20)[None]
    rows = base.get_input_embeddings().num_embeddings
    torch.testing.assert_close(again(ids).logits, adapted(ids).logits[..., :rows], rtol=1e-4, atol=1e-4)


def test_a_vocabulary_with_holes_forbids_the_holes_and_no_token(networks):
    model, tokenizer = load_policy(networks["qwen2"])

    class Holed:
        """The same tokenizer with its last token moved up by ten ids."""

        pad_token_id = tokenizer.pad_token_id

        def get_vocab(self):
            vocabulary = tokenizer.get_vocab()
            last = max(vocabulary, key=vocabulary.get)
            return {**vocabulary, last: vocabulary[last] + 5}

        def __len__(self):
            return len(tokenizer)

    holed, rows = Holed(), model.get_output_embeddings().weight.shape[0]
    assert largest_id(holed) == len(tokenizer) + 4
    forbidden = set(forbidden_token_ids(model, holed).tolist())
    assert forbidden == {*range(rows)} - {*holed.get_vocab().values()} | {holed.pad_token_id}


def test_every_token_that_ends_a_text_ends_a_completion_and_is_kept(networks, tmp_path):
    shutil.copytree(networks["qwen2"], tmp_path / "network")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "network")
    end, text_end, start = (tokenizer.convert_tokens_to_ids(f"<|{n}|>") for n in ("im_end", "endoftext", "im_start"))
    tokenizer.eos_token, tokenizer.pad_token = "<|endoftext|>", None  # as in Qwen's base networks
    tokenizer.save_pretrained(tmp_path / "network")
    GenerationConfig(eos_token_id=[text_end, start, 7]).save_pretrained(tmp_path / "network")
    model, loaded = load_policy(tmp_path / "network")
    assert stop_ids(model, loaded) == [end, text_end, start]  # 7 is an ordinary token of this tokenizer
    assert encode_completion(loaded, "one")[-1] == end
    save_policy(model, loaded, tmp_path / "saved")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "saved").generation_config.eos_token_id == [
        end, text_end, start,
    ]  # fmt: skip
