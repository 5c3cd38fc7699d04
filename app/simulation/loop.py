"""The whole loop over REST: the parts of admin and labelers, round after round, and the results."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import islice

from app.kit.terminal import progress
from app.simulation import miniature
from app.simulation.agreement import agreement, calibrate
from app.simulation.labelers import Labeler, crew
from app.simulation.rest import CALIBRATION_ITEMS, Api, RestError, SubmittedAnswer, compared, day, sign_up, texts
from training.contract.records import Pool

POLL_SECONDS = 1.0
SHARED_ITEMS = 40  # ranked by every labeler, to measure agreement
IMPORT_AT_ONCE = 1000


@dataclass(frozen=True)
class Sizes:
    """Amounts to collect and train; `training` maps steps of a plan to overrides of their recipe."""

    demonstrations: int = 300
    comparisons: int = 2000  # with fewer, the reward model is too weak for PPO (docs/experiments.md)
    validation_share: float = 0.15  # share of the comparisons for evaluating the reward model
    completions: int = 6
    shared_items: int = SHARED_ITEMS
    evaluation_prompts: int = 800  # a hundred of each family: a drop of 10 points is two standard errors
    training: dict[str, dict] = field(default_factory=dict)


QUICK = Sizes(
    demonstrations=32,
    comparisons=40,
    validation_share=0.4,
    completions=4,
    shared_items=6,
    evaluation_prompts=200,
    training={
        "train_base": {"corpus_words": 60_000, "layers": 1, "hidden_size": 64, "intermediate_size": 128},
        "sft": {"epochs": 4},
        "ppo": {"iterations": 3, "batch_size": 32, "minibatch_size": 16, "allow_weak_reward_model": True},
    },
)
_RECIPES = {
    "train_base": "miniature_base",
    "sft": "miniature_sft",
    "sft_for_ppo": "miniature_sft_for_ppo",
    "reward_model": "miniature_reward_model",
    "ppo": "miniature_ppo_ptx",
}


@dataclass
class RoundReport:
    """Results of one round; shares are between 0 and 1, KL is in nats per completion."""

    round: int
    demonstrations: int
    comparisons: int
    by_held_out_labelers: int
    agreement: float | None
    agreement_pairs: int
    noise: float
    agreement_low: float | None = None  # of the 95 % interval, clustered by item
    agreement_high: float | None = None
    agreement_items: int = 0
    reward_model: dict[str, float] = field(default_factory=dict)
    ppo: dict[str, float] = field(default_factory=dict)


@dataclass
class Report:
    """Results of a simulation; the same seed gives the same report."""

    seed: int
    labelers: int
    rounds: list[RoundReport] = field(default_factory=list)
    evaluation: dict = field(default_factory=dict)

    def as_dict(self) -> dict:
        """Return the report for --json."""
        return asdict(self)


class Simulation:
    """One simulation against a running server, with an admin's token that has all scopes."""

    def __init__(self, api: Api, *, labelers: int, rounds: int, seed: int, sizes: Sizes, say: Callable[[str], object]):
        self.api, self.rounds, self.seed, self.sizes, self.say = api, rounds, seed, sizes, say
        self.labelers = crew(seed, labelers)
        self.desks: list[Api] = []
        self.report = Report(seed, labelers)
        self.noise = 0.0
        self.base = ""  # the base model's checkpoint, once it is trained

    def run(self) -> Report:
        """Run everything, from creating accounts to comparing the trained policies."""
        with ExitStack() as open_desks:
            self.desks = [open_desks.enter_context(self.api.as_(token)) for token in sign_up(self.api, self.labelers)]
            base = self._base()
            self._import_prompts()
            self.say(
                f"{len(self.labelers)} simulated labelers, {self.sizes.demonstrations} demonstrations to write ..."
            )
            round = self._demonstration_round()
            answers = list(day(self._crew()))
            self._wait("/jobs", base, "the base model")
            self.base = self._chosen()[base["id"]]["id"]
            plan = self._plan(round, next_round=self._next_round({"sft": self.sizes.completions}))
            for number in range(1, self.rounds + 1):
                written = sum(answer.tiers is None for answer in answers)
                answers = self._comparison_round(plan, number, written)
                mix = {"policy": self.sizes.completions - 2, "previous": 1, "sft": 1}
                last = number == self.rounds
                round = {"id": plan["next_round"]}
                plan = self._plan(round, next_round=None if last else self._next_round(mix))
                self._note_training(plan)
        self.report.evaluation = self._evaluate(plan)
        return self.report

    def _crew(self) -> list[tuple[Labeler, Api]]:
        return list(zip([replace(one, noise=self.noise) for one in self.labelers], self.desks, strict=True))

    def _base(self) -> dict:
        """Return the job of the base model: an existing one with this config, or a new one."""
        wanted = self._training("train_base")
        for job in self.api.every("/jobs"):
            same = job["verb"] == "train_base" and wanted.items() <= job["config"].items()
            if same and job["state"] in ("queued", "running", "finished"):
                return job
        return self.api.post("/jobs", {"verb": "train_base", "config": wanted})

    def _import_prompts(self) -> None:
        comparisons = self.sizes.comparisons * self.rounds
        validation = round(comparisons * self.sizes.validation_share)
        train = self.sizes.demonstrations + comparisons
        rows = [
            row.model_dump(mode="json", exclude_none=True)
            for row in miniature.prompts(self.seed, train=train, validation=validation)
        ]
        for start in range(0, len(rows), IMPORT_AT_ONCE):
            self.api.post("/prompts", {"prompts": rows[start : start + IMPORT_AT_ONCE], "keep_similar": True})

    def _demonstration_round(self) -> dict:
        asked = {
            "collections": [miniature.COLLECTION],
            "splits": ["train"],
            "fresh": True,
            "count": self.sizes.demonstrations,
            "seed": self.seed,
        }
        return self._open_round({"name": "Demonstrations", "plan": {"demonstrations": asked}, "pools": ["train"]})

    def _open_round(self, given: dict) -> dict:
        made = self.api.post("/rounds", given)
        return self.api.post(f"/rounds/{made['id']}/open")

    def _next_round(self, mix: dict[str, int]) -> dict:
        return {
            "prompts": self.sizes.comparisons,
            "validation_share": self.sizes.validation_share,
            "completions": self.sizes.completions,
            "mix": mix,
        }

    def _training(self, step: str) -> dict:
        """Return a job's config: the recipe and this simulation's overrides."""
        return {"recipe": _RECIPES[step], **self.sizes.training.get(step, {})}

    def _plan(self, round: dict, next_round: dict | None) -> dict:
        """Train on a round, and create the next one unless `next_round` is None."""
        steps = {
            step: {"recipe": recipe, "set": self.sizes.training.get(step, {})} for step, recipe in _RECIPES.items()
        }
        config = {**steps, "base": self.base, "also": ["simulated"], "next_round": next_round}
        plan = self.api.post("/plans", {"round": round["id"], "config": config})
        return self._wait("/plans", plan, "the plan")

    def _wait(self, path: str, thing: dict, what: str) -> dict:
        """Poll until a plan or job has ended, showing how far it is; raise RestError if it fails."""
        with progress(what) as watch:
            while thing["state"] in ("queued", "running"):
                watch(*self._standing(thing))
                time.sleep(POLL_SECONDS)
                thing = self.api.get(f"{path}/{thing['id']}")
        if thing["state"] != "finished":
            raise RestError(f"{what} {thing['state']}: {thing['error']}")
        return thing

    def _standing(self, thing: dict) -> tuple[float, str]:
        """Return the share that is done of the current step of a plan, or of a job, and the step's name."""
        step = next((step for step in thing.get("steps", []) if step["state"] == "running"), None)
        job = self.api.get(f"/jobs/{step['job']}") if step and step["job"] else thing
        return job["step"] / job["total_steps"] if job.get("total_steps") else 0, step["name"] if step else ""

    def _comparison_round(self, plan: dict, number: int, demonstrations: int) -> list[SubmittedAnswer]:
        """Let the labelers rank a plan's completions, then measure their agreement on items that all of them rank."""
        round = self.api.get(f"/rounds/{plan['next_round']}")
        items = compared(self.api, round["id"])
        if not self.noise:
            self.noise = calibrate(self.labelers, texts(self.api, items[:CALIBRATION_ITEMS]))
        with progress(f"round {number}") as watch:
            answers = []
            for answer in self._rank(items):
                answers.append(answer)
                watch(len(answers) / len(items), "labelers rank")
        shared = self._open_round(self._shared(round, items))
        ranked = list(day(self._crew()))
        self.api.post(f"/rounds/{shared['id']}/close")
        by_prompt: dict[str, list[dict[str, int]]] = {}
        for answer in ranked:
            if answer.tiers is not None:
                by_prompt.setdefault(answer.prompt, []).append(answer.tiers)
        agreed = agreement(by_prompt.values())
        rankings = [answer for answer in answers if answer.tiers is not None]
        self.report.rounds.append(
            RoundReport(
                round=number,
                demonstrations=demonstrations,
                comparisons=len(rankings) + len(ranked),
                by_held_out_labelers=sum(answer.labeler.pool == "held-out" for answer in [*rankings, *ranked]),
                agreement=agreed and agreed.value,
                agreement_pairs=agreed.count if agreed else 0,
                noise=self.noise,
                agreement_low=agreed and agreed.low,
                agreement_high=agreed and agreed.high,
                agreement_items=agreed.clusters if agreed else 0,
            )
        )
        self.say(f"round {number}: {len(rankings)} comparisons, {agreement_line(self.report.rounds[-1])}")
        return answers

    def _rank(self, items: Sequence[dict]) -> Iterator[SubmittedAnswer]:
        """Yield the labelers' answers in a round; held-out labelers rank only validation prompts, which come last."""
        # Rankings by held-out labelers are not trained on, so a train prompt would be wasted on them.
        asked = {"collection": miniature.COLLECTION, "split": "validation"}
        validation = {prompt["id"] for prompt in self.api.every("/prompts", limit=500, **asked)}
        train = sum(item["prompt"] not in validation for item in items)
        pools = {pool: [pair for pair in self._crew() if pair[0].pool is pool] for pool in Pool}
        yield from islice(day(pools[Pool.TRAIN]), train)
        yield from islice(day(pools[Pool.HELD_OUT]), (len(items) - train) // 2)
        yield from day(self._crew())

    def _shared(self, round: dict, items: Sequence[dict]) -> dict:
        """Return a round outside of training: some of the same comparisons, ranked by everyone."""
        asked = {"prompts": [item["prompt"] for item in items[: self.sizes.shared_items]]}
        return {
            "name": f"Agreement on round {round['number']}",
            "purpose": "evaluation",
            "plan": {**round["plan"], "demonstrations": None, "comparisons": asked},
            "overlap": len(self.labelers),
        }

    def _note_training(self, plan: dict) -> None:
        results = {
            step["name"]: self.api.get(f"/jobs/{step['job']}")["result"] for step in plan["steps"] if step["job"]
        }
        noted = self.report.rounds[-1]
        noted.reward_model = {
            name: value for name, value in results["reward_model"].items() if name.startswith(("accuracy/", "loss/"))
        }
        chosen = results["ppo"]["checkpoint"].rpartition("/")[2]
        start = {f"start_{name}": value for name, value in _evaluated(results["ppo"]["start"]).items()}
        scores = {name: value for name, value in start.items() if name.startswith("start_score")}
        noted.ppo = _evaluated(results["ppo"][chosen]) | scores

    def _chosen(self) -> dict[str, dict]:
        """Return the recommended checkpoint of each job, by job id."""
        return {one["job"]: one for one in self.api.every("/checkpoints") if one["chosen"]}

    def _evaluate(self, plan: dict) -> dict:
        """Compare base, SFT and PPO on test prompts."""
        jobs = {step["name"]: step["job"] for step in plan["steps"] if step["job"]}
        by_job = self._chosen()
        policies = {
            "base": f"checkpoint:{self.base}",
            "sft": f"checkpoint:{by_job[jobs['sft']]['id']}",
            "ppo": f"checkpoint:{by_job[jobs['ppo']]['id']}",
        }
        config = {
            "recipe": "miniature_evaluate",
            "policies": policies,
            "reference": "sft",
            "reward_model": f"checkpoint:{by_job[jobs['reward_model']]['id']}",
            "prompts": self.sizes.evaluation_prompts,
            "miniature_seed": self.seed,
            "seed": self.seed,
        }
        job = self.api.post("/jobs", {"verb": "evaluate", "config": config})
        return self._wait("/jobs", job, "evaluation")["result"]


def _evaluated(metrics: dict[str, float]) -> dict[str, float]:
    return {name.removeprefix("evaluation/"): value for name, value in metrics.items()}


def agreement_line(round: RoundReport) -> str:
    """Return a line on the labelers' agreement: its interval, the number of pairs and the number of items."""
    if round.agreement is None:
        return "labelers agree: not measured, because no pair was ordered by two labelers"
    return (
        f"labelers agree on {round.agreement:.1%} [{round.agreement_low:.1%}, {round.agreement_high:.1%}] of "
        f"{round.agreement_pairs} pairs without ties, from {round.agreement_items} items"
    )
