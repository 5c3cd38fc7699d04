"""Output of `python -m training.try_network` for small networks, part of a large one, and folders it refuses."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from tests.training.networks import families
from training import try_network
from training.contract import events
from training.contract.recipes import make_config
from training.networks import first_layers
from training.run.run_folder import RunFolder
from training.text.tokenizer import load_tokenizer
from training.train_sft import run


@pytest.fixture
def small(monkeypatch):
    """Make every network count as large; none is loaded whole if its first layers are refused."""
    monkeypatch.setattr(try_network, "LARGE_BYTES", 1000)
    monkeypatch.setattr(try_network, "WHOLE_BYTES", 1000)


def said(folder) -> dict[str, tuple[str, str]]:
    return {one["check"]: (one["verdict"], one["said"]) for one in try_network.tried(folder)["findings"]}


@pytest.fixture(scope="module")
def mamba(networks, tmp_path_factory):
    """Write a recurrent network, where packed sequences would see their neighbours."""
    folder = tmp_path_factory.mktemp("mamba")
    tokenizer = AutoTokenizer.from_pretrained(networks["llama"])
    families.network("mamba", vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_plain_network_is_right_in_the_fastest_forms(networks):
    found = said(networks["qwen2"])
    assert {verdict for verdict, _ in found.values()} == {"right"}
    assert "<|im_end|>" in found["end of a turn"][1]
    assert "7 stand for no token" in found["vocabulary"][1]


def test_a_recurrent_network_is_right_in_slower_forms(mamba):
    found = said(mamba)
    assert found["several sequences"][0] == "slower" and "see their neighbours" in found["several sequences"][1]
    assert found["sampling"] == (
        "slower",
        "Its cache is not one that our sampler knows, so transformers' generate samples.",
    )
    assert "MambaForSequenceClassification" in found["reward model"][1]


def test_a_refusal_is_one_sentence_and_exit_code_1(tmp_path, capsys):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    assert try_network.main([str(tmp_path)]) == 1
    assert "merge it into org/base first" in capsys.readouterr().err
    assert try_network.main([str(tmp_path), "--json"]) == 1
    assert "merge it into org/base first" in json.loads(capsys.readouterr().out)["refused"]


def test_of_a_large_network_the_first_layers_are_read(networks, tmp_path, small):
    tokenizer = AutoTokenizer.from_pretrained(networks["llama"])
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=5000, hidden_size=32, intermediate_size=48, num_hidden_layers=6, num_attention_heads=4,
        initializer_range=0.2,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = said(tmp_path)
    assert found["weights"] == (
        "note",
        "It is large, so the first 1 of its 6 layers were tried. Of the others the names and shapes of their tensors "
        "were read.",
    )
    assert found["several sequences"][0] == "right" and found["sampling"][0] == "right"
    model, layers, whole, rows = first_layers.load_first_layers(tmp_path)
    assert (layers, whole, rows) == (1, 6, 5000)
    assert model.get_input_embeddings().num_embeddings == first_layers.ROWS
    assert sum(weights.numel() for weights in model.parameters()) < 300_000


@pytest.mark.parametrize("change", ["lacks", "shape"])
def test_a_layer_far_behind_that_differs_is_refused_by_its_name(networks, tmp_path, small, change):
    shutil.copytree(networks["llama"], tmp_path / "network")
    path, name = tmp_path / "network" / "model.safetensors", "model.layers.1.mlp.up_proj.weight"
    tensors = load_file(path)
    tensors |= {f"model.layers.2.{key.removeprefix('model.layers.1.')}": value.clone()
                for key, value in tensors.items() if key.startswith("model.layers.1.")}  # fmt: skip
    config = json.loads((tmp_path / "network" / "config.json").read_text())
    (tmp_path / "network" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    far = name.replace(".1.", ".2.")
    tensors = (
        {**tensors, far: torch.zeros(3, 3)} if change == "shape" else {k: v for k, v in tensors.items() if k != far}
    )
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"layer 2 differs .*model\.layers\.2\.mlp\.up_proj\.weight first"):
        try_network.tried(tmp_path / "network")


def test_a_run_tells_what_it_found_of_the_network_that_it_loads(miniature, tmp_path):
    keys = {"recipe": "miniature_sft", "data": miniature / "sft", "init_from": miniature / "base", "epochs": 1}
    with RunFolder(tmp_path) as folder:
        run(make_config("train_sft", keys), folder)
    lines = [events.parse(line) for line in (tmp_path / "events.jsonl").read_bytes().splitlines()]
    assert isinstance(lines[0], events.Started)
    told = next(line for line in lines if isinstance(line, events.NetworkTried))
    assert told.key == "init_from" and {"several sequences", "sampling"} <= {one.check for one in told.findings}


def test_layers_of_another_kind_are_no_fault_wherever_they_begin(tmp_path):
    """DeepSeek's first three layers are dense and the rest hold experts; some networks have one layer of a kind."""
    dense = {f"mlp.{name}.weight": torch.zeros(2, 2) for name in ("gate_proj", "up_proj", "down_proj")}
    experts = {f"mlp.experts.{i}.{name}": torch.zeros(2, 2) for i in range(4) for name in ("up", "down")}
    common = {f"self_attn.{name}.weight": torch.zeros(2, 2) for name in "qkvo"}

    def check(*layers):
        tensors = {
            f"model.layers.{number}.{name}": tensor.clone()
            for number, layer in enumerate(layers)
            for name, tensor in {**common, **layer}.items()
        }
        save_file(tensors, tmp_path / "model.safetensors")
        first_layers._check_shapes(tmp_path, len(layers))

    check(dense, dense, dense, experts, experts, experts)
    check(dense, experts, experts, experts)
    check(experts, experts, dense)
    lacking = {name: tensor for name, tensor in experts.items() if name != "mlp.experts.2.up"}
    with pytest.raises(ValueError, match=r"layer 5 differs from those of its kind in 1 tensors.*experts\.2\.up first"):
        check(dense, dense, dense, experts, experts, lacking)


def test_of_a_folder_with_weights_in_two_formats_the_one_that_transformers_loads_is_read(networks, tmp_path):
    """Mistral's folders hold consolidated.safetensors as well, under other names."""
    shutil.copytree(networks["llama"], tmp_path / "network")
    save_file({"layers.0.wq": torch.zeros(100, 100)}, tmp_path / "network" / "consolidated.safetensors")
    assert first_layers.size_bytes(tmp_path / "network") == first_layers.size_bytes(networks["llama"])


@pytest.mark.parametrize(("kind", "cut"), [("apertus", True), ("modernbert-decoder", False)])
def test_a_network_that_cannot_be_cut_is_loaded_whole_while_it_is_not_too_large(
    networks, tmp_path, small, monkeypatch, kind, cut
):
    """The first has tensors of one number, the second a layer of its own kind that lacks a norm."""
    tokenizer = load_tokenizer(networks["llama"])
    layers = {"num_hidden_layers": 4, "layer_types": ["full_attention"] * 4}
    families.network(kind, vocab_size=len(tokenizer), **layers).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    if not cut:
        with pytest.raises(ValueError, match="layer 0 differs"):
            try_network.tried(tmp_path)
        monkeypatch.setattr(try_network, "WHOLE_BYTES", 10**9)
    (weights,) = [one for one in try_network.tried(tmp_path)["findings"] if one["check"] == "weights"]
    assert ("first 1 of its 4 layers" in weights["said"]) == cut
