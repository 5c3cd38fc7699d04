"""How soon a resident policy of the miniature's size begins to answer."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from app.config import ROOT
from training.contract.records import SERVING_ADDRESS

TALK = [
    {"role": "user", "content": "Repeat the word boat three times."},
    {"role": "assistant", "content": "boat boat boat"},
    {"role": "user", "content": "Name two animals and two plants, in one sentence."},
]
REQUESTS = 20
# A network of the miniature's size with fresh weights: how fast it is does not depend on what it has learnt.
NETWORK = """
import sys, torch
from pathlib import Path
from training.miniature import world
from training.text.policy import new_transformer, save_policy
from training.text.tokenizer import train_tokenizer
from training.contract.configs import BaseConfig
config = BaseConfig()
tokenizer = train_tokenizer(list(world.corpus(0, 20_000)), config.vocab_size)
torch.manual_seed(0)
save_policy(new_transformer(config, tokenizer), tokenizer, Path(sys.argv[1]))
"""


def serving(folder: Path) -> Iterator[tuple[str, float, str]]:
    """Seconds from the start of serve_policy until it answers, and from a request to its first and its last token."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    network, run_folder = folder / "served", folder / "serving"
    subprocess.run([sys.executable, "-c", NETWORK, str(network)], cwd=ROOT, check=True, env=environment)
    command = [sys.executable, "-m", "training.serve_policy", "miniature_serve", "--run-folder", str(run_folder)]
    began = time.monotonic()
    with subprocess.Popen(
        [*command, "--set", f"init_from={network}", "--set", "port=0", "--supervised"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        while not (run_folder / SERVING_ADDRESS).exists():
            assert child.poll() is None, "it did not start"
            time.sleep(0.02)
        yield "serve_policy, until it answers", time.monotonic() - began, "s"
        url = (run_folder / SERVING_ADDRESS).read_text().strip()
        firsts, wholes = zip(*(_answer(url, seed) for seed in range(REQUESTS)), strict=True)
        yield f"serve_policy, first token, median of {REQUESTS}", 1000 * statistics.median(firsts), "ms"
        yield f"serve_policy, first token, slowest of {REQUESTS}", 1000 * max(firsts), "ms"
        yield f"serve_policy, whole answer, median of {REQUESTS}", 1000 * statistics.median(wholes), "ms"


def _answer(url: str, seed: int) -> tuple[float, float]:
    """Seconds to the first piece of text and to the end of a streamed answer."""
    first = 0.0
    began = time.monotonic()
    asked = {"messages": TALK, "stream": True, "max_tokens": 24, "seed": seed}
    with httpx.Client(trust_env=False) as client, client.stream("POST", f"{url}/chat/completions", json=asked) as reply:
        for line in reply.iter_lines():
            if not first and line.startswith("data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                first = time.monotonic() - began
    return first, time.monotonic() - began
