"""A batch of work.json by TRL's PPOTrainer."""

from answer import answer, work

folder, given = work()

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from ending import end_with  # noqa: E402
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402
from trl.experimental.ppo import PPOConfig, PPOTrainer  # noqa: E402
from trl_settings import SETTINGS  # noqa: E402

torch.set_num_threads(1)
tokenizer = AutoTokenizer.from_pretrained(folder / "policy" / "network")


def loaded(kind: type, name: str) -> torch.nn.Module:
    """A network in float32, which keeps keys and values where it writes alone."""
    model = kind.from_pretrained(folder / name / "network", dtype=torch.float32)
    model.config.use_cache = False
    return model


policy, reference = (loaded(AutoModelForCausalLM, "policy") for _ in range(2))
for network in (policy, reference):
    end_with(network, tokenizer, given["end_share"])
episodes = len(given["prompts"])
trainer = PPOTrainer(
    args=PPOConfig(
        **SETTINGS,
        # Accumulation would merge the minibatches of a batch into one step [trl#5645].
        per_device_train_batch_size=episodes,
        gradient_accumulation_steps=1,
        num_mini_batches=given["minibatches"],
        num_ppo_epochs=1,
        total_episodes=episodes,
        response_length=given["completion_tokens"],
        stop_token="eos",
        temperature=1.0,
        learning_rate=given["learning_rate"],
        lr_scheduler_type="constant",
        num_sample_generations=0,
    ),
    processing_class=tokenizer,
    model=policy,
    ref_model=reference,
    reward_model=loaded(AutoModelForSequenceClassification, "reward_model"),
    value_model=loaded(AutoModelForSequenceClassification, "reward_model"),
    train_dataset=Dataset.from_list([{"input_ids": prompt} for prompt in given["prompts"]]),
)
counted = {"steps": 0, "written": 0}
generate = policy.generate


def counting(*args: object, **kwargs: object) -> object:
    """What the policy writes, counted on its way."""
    output = generate(*args, **kwargs)
    start = len(given["prompts"][0])
    counted["written"] += int((output.sequences[:, start:] != tokenizer.pad_token_id).sum())
    return output


policy.generate = counting
trainer.optimizer.optimizer.register_step_post_hook(lambda *_: counted.update(steps=counted["steps"] + 1))


def run() -> dict[str, float]:
    """One batch."""
    counted.update(steps=0, written=0)
    trainer.train()
    return {"work": trainer.state.episode, **counted}


answer(run)
