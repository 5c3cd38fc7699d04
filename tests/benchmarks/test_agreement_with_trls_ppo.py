"""PPO's losses and gradients against TRL's on the same episodes, where TRL computes what we do: in its environment.

The episodes all last as long as they may, for elsewhere TRL 1.12 is not right: it puts the score after the last token
and lets the critic learn the value of what follows it. Two more differences are allowed for here: it whitens by
n - 1 where Ziegler's code and ours divide by n, and its policies may write the pad token, which its own masks then take
for the end.
"""

import json
import os
import subprocess
from math import sqrt
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from app.config import ROOT
from training.contract.configs import PPOConfig
from training.ppo.learner import new_learner
from training.ppo.networks import Networks
from training.ppo.rollout import roll_out
from training.ppo.update import update
from training.ppo.value_model import ValueModel
from training.reward.model import load_reward_model, new_reward_model, save_reward_model
from training.text.formatting import CHAT_TEMPLATE
from training.text.policy import load_policy, save_policy
from training.text.tokenizer import train_tokenizer

PEER_PYTHON = ROOT / ".venv" / "peers" / "trl_ppo" / "bin" / "python"
PROMPTS = [[5, 6, 7], [11], [20, 21], [9, 8, 7, 6], [30, 31, 32], [40, 41], [50], [60, 61, 62, 63]]
TOKENS = 6
CONFIG = PPOConfig(
    batch_size=8, minibatch_size=8, max_completion_tokens=TOKENS, beta=0.3, max_gradient_norm=None, warmup_iterations=1
)

TRL = """
import json, sys, tempfile
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

folder, given = sys.argv[1], json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(folder + "/policy", padding_side="left")
pad = tokenizer.pad_token_id

def policy(name):
    model = AutoModelForCausalLM.from_pretrained(f"{folder}/{name}", dtype=torch.float32)
    model.lm_head.bias = torch.nn.Parameter(torch.where(torch.arange(model.config.vocab_size) == pad, -1e9, 0.0))
    return model

def scorer(name):
    return AutoModelForSequenceClassification.from_pretrained(f"{folder}/{name}", dtype=torch.float32, num_labels=1)

def written(model, queries, *_):
    of = {tuple(prompt): completion for prompt, completion in given["episodes"]}
    texts = torch.tensor([of[tuple(query[query != pad].tolist())] for query in queries])
    whole = torch.cat([queries, texts], 1)
    return whole, ppo_trainer.forward(model, whole, pad).logits[:, queries.shape[1] - 1 : -1]

ppo_trainer.batch_generation = written
networks = policy("policy"), scorer("reward_model")
optimizer = torch.optim.SGD([weight for network in networks for weight in network.parameters()], lr=0.0)
steps = []

def record(*_):
    steps.append([network.get_input_embeddings().weight.grad.flatten().tolist() for network in networks])

def move(*_):
    for network, to in zip(networks, (policy("moved_policy"), scorer("moved_critic"))):
        network.load_state_dict(to.state_dict())

optimizer.register_step_pre_hook(record)
optimizer.register_step_post_hook(move)
trainer = PPOTrainer(
    args=PPOConfig(
        output_dir=tempfile.mkdtemp(), bf16=False, gradient_checkpointing=False, use_cpu=True, report_to="none",
        disable_tqdm=True, save_strategy="no", per_device_train_batch_size=8, gradient_accumulation_steps=1,
        num_ppo_epochs=2, total_episodes=8, response_length=given["tokens"], stop_token="eos", temperature=1.0,
        num_sample_generations=0, vf_coef=1.0, **given["settings"]),
    processing_class=tokenizer, model=networks[0], ref_model=policy("reference"), reward_model=scorer("reward_model"),
    value_model=networks[1], train_dataset=Dataset.from_list([{"input_ids": p} for p, _ in given["episodes"]]),
    optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)))
told = {}
trainer.log = told.update
trainer.train()
print(json.dumps({"gradients": steps[1], "told": told}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The networks: at the start, the reference, and where the policy and the critic have moved to."""
    folder = tmp_path_factory.mktemp("networks")
    tokenizer = train_tokenizer(["the quick brown fox. " * 20], 300)
    tokenizer.chat_template = CHAT_TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        initializer_range=0.1, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    policy = LlamaForCausalLM(config)
    save_policy(policy, tokenizer, folder / "policy")
    critic, _ = new_reward_model(folder / "policy")
    save_reward_model(critic, tokenizer, folder / "reward_model")
    for name in ("reference", "moved_policy", "moved_critic"):
        network = critic if name == "moved_critic" else policy
        for weight in network.parameters():
            weight.data += 0.02 * torch.randn_like(weight)
        save_policy(network, tokenizer, folder / name)
    return folder


def test_ppos_losses_and_gradients_are_trls_on_episodes_that_last_as_long_as_they_may(folder):
    if not PEER_PYTHON.exists():
        pytest.skip("TRL 1.12 is not installed; make bench installs it")
    (policy, tokenizer), (reference, _), (moved, _) = (
        load_policy(folder / name) for name in ("policy", "reference", "moved_policy")
    )
    (reward_model, _, _), (critic, _, _) = (load_reward_model(folder / n) for n in ("reward_model", "moved_critic"))
    networks = Networks(policy, reference, reward_model, ValueModel(reward_model), tokenizer)
    episodes = roll_out(PROMPTS, networks, CONFIG, torch.Generator().manual_seed(1))
    assert (episodes.lengths == TOKENS).all()
    learner = new_learner(Networks(moved, reference, reward_model, ValueModel(critic), tokenizer), CONFIG)
    ours = update(learner, episodes, None, CONFIG)

    settings = {"kl_coef": CONFIG.beta, "lam": CONFIG.gae_lambda, "cliprange": CONFIG.clip_ratio}
    written = [(prompt, episodes.completion(row)) for row, prompt in enumerate(PROMPTS)]
    done = subprocess.run(
        [str(PEER_PYTHON), "-c", TRL, str(folder)], capture_output=True, text=True,
        input=json.dumps({"episodes": written, "tokens": TOKENS, "settings": settings}),
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.splitlines()[-1])

    tokens = len(PROMPTS) * TOKENS
    whitened = sqrt(tokens / (tokens - 1))
    # TRL tells the mean over two steps, of which the first has ratio 1 and so no loss.
    assert ours["policy_loss"] == pytest.approx(2 * theirs["told"]["loss/policy_avg"] * whitened, rel=1e-4)
    assert float(episodes.kl_nats.mean()) == pytest.approx(theirs["told"]["objective/kl"], rel=1e-5)
    assert float(episodes.scores.mean()) == pytest.approx(theirs["told"]["objective/scores"], rel=1e-5)
    assert 0.05 < ours["clip_fraction"] < 0.95 and 0.05 < ours["value_clip_fraction"] < 0.95
    embeddings = learner.networks.policy.get_input_embeddings(), learner.networks.critic.body.get_input_embeddings()
    for network, gradient, scale in zip(embeddings, theirs["gradients"], (whitened, 1.0), strict=True):
        wanted = scale * torch.tensor(gradient)
        assert float((network.weight.grad.flatten() - wanted).norm() / wanted.norm()) < 1e-4
