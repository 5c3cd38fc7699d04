"""The resident policy: OpenAI's protocol over the common sampler, ending with its supervisor."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import torch

from training.contract.configs import ServeConfig
from training.contract.records import SERVING_ADDRESS, Message
from training.run.run_folder import RunFolder
from training.serve_policy import KEY_VARIABLE, Resident, Server, run
from training.text.formatting import decode_completion, encode_prompt
from training.text.policy import forbidden_token_ids, load_policy
from training.text.sampler import sample

TALK = [
    {"role": "user", "content": "one two three"},
    {"role": "assistant", "content": "four"},
    {"role": "user", "content": "the cat?"},
]


def serve(network: Path, key: str = "", **settings) -> Iterator[httpx.Client]:
    """Yield a client of the network, served by a thread until the client is no longer needed."""
    config = ServeConfig(init_from=network, name="tiny", port=0, max_completion_tokens=12, max_prompt_tokens=80)
    server = Server(Resident(config.model_copy(update=settings)), key)
    thread = threading.Thread(target=server.answer, daemon=True)
    thread.start()
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        yield client
    server.should_exit = True
    thread.join()


@pytest.fixture
def served(network: Path) -> Iterator[httpx.Client]:
    """Provide a client of each family's random network."""
    yield from serve(network)


def ask(client: httpx.Client, **settings) -> httpx.Response:
    return client.post("/chat/completions", json={"model": "tiny", "messages": TALK, **settings})


def test_what_is_served_is_what_the_sampler_samples(served, network):
    policy, tokenizer = load_policy(network)
    ids = encode_prompt(tokenizer, [Message(role=one["role"], text=one["content"]) for one in TALK])
    expected = sample(
        policy,
        [ids] * 3,
        max_new_tokens=9,
        eos_token_id=tokenizer.eos_token_id,
        forbidden=forbidden_token_ids(policy, tokenizer),
        generator=torch.Generator().manual_seed(11),
        temperature=0.7,
    )
    answer = ask(served, n=3, temperature=0.7, max_tokens=9, seed=11).json()
    assert [one["message"]["content"] for one in answer["choices"]] == [
        decode_completion(tokenizer, written) for written in expected.texts()
    ]
    reasons = ["stop" if finished else "length" for finished in expected.finished.tolist()]
    assert [one["finish_reason"] for one in answer["choices"]] == reasons
    assert answer["usage"]["prompt_tokens"] == len(ids)
    assert answer["usage"]["completion_tokens"] == int(expected.mask.sum())
    assert (answer["object"], answer["model"]) == ("chat.completion", "tiny")
    told = ask(served, n=3, temperature=0.7, max_tokens=9, seed=11, logprobs=True, return_token_ids=True).json()
    assert [one["token_ids"] for one in told["choices"]] == expected.texts()
    for one, written, logprobs in zip(told["choices"], expected.texts(), expected.logprobs.tolist(), strict=True):
        assert [token["logprob"] for token in one["logprobs"]["content"]] == pytest.approx(logprobs[: len(written)])


def test_a_stream_carries_the_same_text_piece_by_piece(served):
    whole = ask(served, seed=5).json()["choices"][0]
    with served.stream("POST", "/chat/completions", json={"messages": TALK, "seed": 5, "stream": True}) as reply:
        lines = [line.removeprefix("data: ") for line in reply.iter_lines() if line]
    assert reply.headers["content-type"] == "text/event-stream" and lines[-1] == "[DONE]"
    chunks = [json.loads(line)["choices"][0] for line in lines[:-1]]
    assert "".join(chunk["delta"].get("content", "") for chunk in chunks) == whole["message"]["content"]
    assert chunks[-1]["finish_reason"] == whole["finish_reason"]
    assert len(chunks) > 2, "the text came in one piece"


def test_requests_without_a_seed_differ_and_the_run_repeats_itself(networks):
    runs = [
        [ask(client).json()["choices"][0]["message"]["content"] for _ in range(3)]
        for _ in range(2)
        for client in serve(networks["llama"])
    ]
    assert runs[0] == runs[1], "the config's seed decides"
    assert len(set(runs[0])) > 1, "every request draws anew"


def test_more_requests_than_threads_wait_their_turn_while_a_text_streams(networks):
    """A stream needs a thread for each piece, so those who wait for it must hold none."""
    for client in serve(networks["llama"]):
        with (
            ThreadPoolExecutor(60) as pool,
            client.stream("POST", "/chat/completions", json={"messages": TALK, "seed": 5, "stream": True}) as reply,
        ):
            lines = reply.iter_lines()
            assert next(lines)
            waiting = [pool.submit(ask, client, seed=5, max_tokens=2) for _ in range(60)]
            root = str(client.base_url).removesuffix("/v1/")
            assert httpx.get(f"{root}/health", trust_env=False, timeout=5).json() == {"status": "ok"}
            assert [line for line in lines if line][-1] == "data: [DONE]"
            texts = {one.result().json()["choices"][0]["message"]["content"] for one in waiting}
        assert len(texts) == 1


def test_a_client_that_leaves_a_stream_holds_nobody_up(networks):
    for client in serve(networks["llama"], max_completion_tokens=40):
        for seed in range(3):
            body = {"messages": TALK, "seed": seed, "stream": True}
            with client.stream("POST", "/chat/completions", json=body) as reply:
                next(reply.iter_lines())
        assert ask(client, max_tokens=2).status_code == 200


def test_a_body_may_come_in_chunks_but_not_without_end(networks):
    def parts(count: int):
        yield json.dumps({"messages": TALK, "max_tokens": 2})[:-1].encode()
        for _ in range(count):
            yield b" " * 1_000_000
        yield b"}"

    for client in serve(networks["llama"]):
        headers = {"Content-Type": "application/json; charset=utf-8"}
        assert client.post("/chat/completions", content=parts(1), headers=headers).status_code == 200
        answer = client.post("/chat/completions", content=parts(5), headers=headers)
        assert answer.status_code == 413 and "send less" in answer.json()["error"]["message"]
        assert ask(client, max_tokens=2).status_code == 200


def test_models_health_and_refusals_say_what_to_do(networks):
    for client in serve(networks["gpt2"]):
        assert client.get("/models").json()["data"][0]["id"] == "tiny"
        root = str(client.base_url).removesuffix("/v1/")
        assert httpx.get(f"{root}/health", trust_env=False).json() == {"status": "ok"}
        long = [{"role": "user", "content": "the cat " * 100}]
        parts = [{"role": "user", "content": [{"type": "text", "text": "the "}, {"type": "text", "text": "cat"}]}]
        joined = [{"role": "user", "content": "the cat"}]
        assert (
            ask(client, messages=parts, seed=1).json()["choices"]
            == ask(client, messages=joined, seed=1).json()["choices"]
        )
        for settings, status, says in (
            ({"messages": []}, 400, "messages"),
            ({"messages": [{"role": "user", "content": ""}]}, 400, "messages.0.content"),
            ({"messages": long}, 400, "longer than 80 tokens"),
            ({"n": 0}, 400, "n: "),
            ({"top_p": 0.9}, 400, "top_p"),
            ({"n": 2, "stream": True}, 400, "a stream carries one answer"),
            ({"model": "another"}, 404, "there is no 'another' here; ask for 'tiny'"),
        ):
            answer = ask(client, **settings)
            assert answer.status_code == status and says in answer.json()["error"]["message"], (settings, answer.text)
        assert client.post("/chat/completions", content="not json").status_code == 415
        assert client.post("/elsewhere", json={}).status_code == 404
        assert client.get("/chat/completions").status_code == 404
        assert client.post("/chat/completions", json=["no request"]).status_code == 400
        assert ask(client, max_tokens=2).status_code == 200, "a refusal leaves the server well"


def test_a_completion_ends_where_the_networks_positions_do(networks):
    for client in serve(networks["gpt2"], max_prompt_tokens=118, max_completion_tokens=100):  # 120 positions
        usage = ask(client, messages=[{"role": "user", "content": "1234567890" * 10}]).json()["usage"]
        assert usage["total_tokens"] <= 120


def test_with_a_key_nothing_is_answered_without_it(networks):
    for client in serve(networks["llama"], key="secret"):
        assert ask(client).status_code == 401
        assert client.get("/models").status_code == 401
        client.headers["Authorization"] = "Bearer secret"
        assert ask(client).status_code == 200


def test_other_machines_are_let_in_only_with_a_key(networks, tmp_path, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with RunFolder(tmp_path / "run") as folder, pytest.raises(ValueError, match=f"set {KEY_VARIABLE}"):
        run(ServeConfig(init_from=networks["llama"], host="0.0.0.0"), folder)


def test_it_ends_when_its_supervisors_pipe_closes(networks, tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "training.serve_policy", "miniature_serve", "--run-folder", str(folder)]
    settings = ["--set", f"init_from={networks['llama']}", "--set", "port=0", "--set", "name=tiny", "--supervised"]
    child = subprocess.Popen(
        [*command, *settings],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        address = _wait_for(folder / SERVING_ADDRESS, child)
        assert ask(httpx.Client(base_url=address, trust_env=False, timeout=60), max_tokens=3).status_code == 200
        child.stdin.close()
        assert child.wait(10) != 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/models", trust_env=False)
    finally:
        child.kill()
        child.wait()


def _wait_for(path: Path, child: subprocess.Popen) -> str:
    pause = threading.Event()
    for _ in range(1200):
        if path.exists():
            return path.read_text().strip()
        assert child.poll() is None, child.stderr.read().decode()
        pause.wait(0.05)
    raise AssertionError("it did not come up")
