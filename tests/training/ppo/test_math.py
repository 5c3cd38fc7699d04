"""PPO's formulas against NumPy loops that read as the definitions do."""

import itertools

import numpy as np
import pytest
import torch

from training.ppo import math as ppo_math

B, T = 6, 7
LENGTHS = [1, 7, 3, 7, 2, 5]  # one token only; full without room for more; end in the last slot; ...


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)

    def draw():
        return torch.randn(B, T, generator=generator, dtype=torch.float64)

    mask = torch.arange(T) < torch.tensor(LENGTHS)[:, None]
    scores = torch.randn(B, generator=generator, dtype=torch.float64)
    return {"mask": mask, "scores": scores, **{name: draw() for name in ("logprobs", "reference", "values", "a", "b")}}


def test_kl_rewards_put_the_score_on_the_last_real_token(batch):
    rewards = ppo_math.kl_rewards(batch["logprobs"], batch["reference"], batch["scores"], batch["mask"], beta=0.3)
    expected = np.zeros((B, T))
    for row, length in enumerate(LENGTHS):
        for t in range(length):
            expected[row, t] = -0.3 * (batch["logprobs"][row, t] - batch["reference"][row, t])
        expected[row, length - 1] += batch["scores"][row]
    np.testing.assert_allclose(rewards, expected, rtol=0, atol=1e-12)


def test_rewards_sum_to_score_minus_beta_kl(batch):
    rewards = ppo_math.kl_rewards(batch["logprobs"], batch["reference"], batch["scores"], batch["mask"], beta=0.05)
    kl = ((batch["logprobs"] - batch["reference"]) * batch["mask"]).sum(dim=1)
    torch.testing.assert_close(rewards.sum(dim=1), batch["scores"] - 0.05 * kl, rtol=0, atol=1e-12)


def test_a_policy_equal_to_its_reference_earns_only_the_score(batch):
    rewards = ppo_math.kl_rewards(batch["logprobs"], batch["logprobs"], batch["scores"], batch["mask"], beta=1.0)
    assert torch.equal(rewards.sum(dim=1), batch["scores"])
    assert int((rewards != 0).sum()) == B


@pytest.mark.parametrize(("discount", "gae_lambda"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (1.0, 0.0)])
def test_advantages_are_the_sum_of_discounted_deltas(batch, discount, gae_lambda):
    # Values after the end must not matter, so they are left as noise.
    got, returns = ppo_math.advantages(batch["a"], batch["values"], batch["mask"], discount, gae_lambda)
    for row, length in enumerate(LENGTHS):
        value = [float(v) for v in batch["values"][row, :length]] + [0.0]
        delta = [float(batch["a"][row, t]) + discount * value[t + 1] - value[t] for t in range(length)]
        for t in range(T):
            expected = sum((discount * gae_lambda) ** (s - t) * delta[s] for s in range(t, length))
            assert float(got[row, t]) == pytest.approx(expected, abs=1e-12)
            assert float(returns[row, t]) == pytest.approx(expected + value[t] if t < length else 0.0, abs=1e-12)


def test_undiscounted_returns_with_lambda_one_are_the_rewards_to_come(batch):
    rewards = torch.where(batch["mask"], batch["a"], 0.0)
    _, returns = ppo_math.advantages(rewards, batch["values"], batch["mask"], 1.0, 1.0)
    to_come = rewards.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(returns, torch.where(batch["mask"], to_come, 0.0))


def test_whiten_known_values():
    x = torch.arange(12, 21, dtype=torch.float64).reshape(3, 3) / 10
    everything = torch.ones(3, 3, dtype=torch.bool)
    unshifted = ppo_math.whiten(x, everything, shift_mean=False)
    assert float(unshifted[0, 0]) == pytest.approx(0.0508071, abs=1e-6)
    assert float(unshifted[2, 2]) == pytest.approx(3.149194, abs=1e-6)
    torch.testing.assert_close(ppo_math.whiten(x, everything), unshifted - 1.6)


def test_whiten_sees_only_real_tokens(batch):
    whitened = ppo_math.whiten(batch["a"], batch["mask"])
    real = batch["a"][batch["mask"]].numpy()
    expected = (real - real.mean()) / np.sqrt(real.var() + 1e-8)
    np.testing.assert_allclose(whitened[batch["mask"]], expected, atol=1e-12)
    assert not whitened[~batch["mask"]].any()


def test_a_constant_on_every_reward_of_one_token_episodes_leaves_whitened_advantages(batch):
    mask, zeros = batch["mask"][:, :1], torch.zeros(B, 1, dtype=torch.float64)
    plain, _ = ppo_math.advantages(batch["a"][:, :1], zeros, mask, 1.0, 0.95)
    shifted, _ = ppo_math.advantages(batch["a"][:, :1] + 5, zeros, mask, 1.0, 0.95)
    torch.testing.assert_close(ppo_math.whiten(plain, mask), ppo_math.whiten(shifted, mask))


@pytest.mark.parametrize("samples", [2, 3, 6])
def test_leave_one_out_is_the_reward_less_the_mean_of_the_others(batch, samples):
    got = ppo_math.leave_one_out(batch["a"], batch["mask"], samples)
    total = [float(batch["a"][row, :length].sum()) for row, length in enumerate(LENGTHS)]
    for row, length in enumerate(LENGTHS):
        first = row // samples * samples
        others = [total[other] for other in range(first, first + samples) if other != row]
        assert got[row, :length].tolist() == pytest.approx([total[row] - np.mean(others)] * length, abs=1e-12)
        assert not got[row, length:].any()
    shifted = ppo_math.leave_one_out(batch["a"][:, :1] + 5, batch["mask"][:, :1], samples)
    torch.testing.assert_close(shifted, ppo_math.leave_one_out(batch["a"][:, :1], batch["mask"][:, :1], samples))


def brute_policy(batch, clip):
    losses, clipped, ratios = [], [], []
    for row, length in enumerate(LENGTHS):
        for t in range(length):
            ratio = np.exp(float(batch["logprobs"][row, t] - batch["reference"][row, t]))
            advantage = float(batch["a"][row, t])
            plain, cut = -advantage * ratio, -advantage * min(max(ratio, 1 - clip), 1 + clip)
            losses.append(max(plain, cut))
            clipped.append(cut > plain)
            ratios.append(ratio)
    return np.mean(losses), np.mean(clipped), np.mean(ratios)


def test_policy_loss_is_the_token_mean_of_the_clipped_surrogate(batch):
    tokens = int(batch["mask"].sum())
    got = ppo_math.policy_loss(batch["logprobs"], batch["reference"], batch["a"], batch["mask"], 0.2, tokens)
    np.testing.assert_allclose([*map(float, got[:3])], brute_policy(batch, 0.2), atol=1e-12)
    change = (batch["logprobs"] - batch["reference"])[batch["mask"]]
    assert float(got.approximate_kl) == pytest.approx(float(0.5 * change.square().mean()))


def test_first_minibatch_has_ratio_one_and_minus_the_mean_advantage(batch):
    tokens = int(batch["mask"].sum())
    got = ppo_math.policy_loss(batch["logprobs"], batch["logprobs"], batch["a"], batch["mask"], 0.2, tokens)
    assert float(got.ratio) == pytest.approx(1.0, abs=1e-15)
    assert float(got.approximate_kl) == 0.0
    assert float(got.clip_fraction) == 0.0
    assert float(got.loss) == pytest.approx(-float(batch["a"][batch["mask"]].mean()))


def test_value_loss_is_half_the_worse_square(batch):
    tokens = int(batch["mask"].sum())
    got = ppo_math.value_loss(batch["values"], batch["a"], batch["b"], batch["mask"], 0.2, tokens)
    squares, held = [], []
    for row, length in enumerate(LENGTHS):
        for t in range(length):
            value, old, target = (float(batch[name][row, t]) for name in ("values", "a", "b"))
            cut = min(max(value, old - 0.2), old + 0.2)
            squares.append(0.5 * max((value - target) ** 2, (cut - target) ** 2))
            held.append((cut - target) ** 2 > (value - target) ** 2)
    assert float(got.loss) == pytest.approx(np.mean(squares))
    assert float(got.clip_fraction) == pytest.approx(np.mean(held))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_gradients_do_not_depend_on_the_micro_batches(batch, size):
    tokens = int(batch["mask"].sum())

    def gradient(cuts):
        logprobs = batch["logprobs"].clone().requires_grad_()
        values = batch["values"].clone().requires_grad_()
        for rows in torch.arange(B).split(cuts):
            one = {name: batch[name][rows] for name in ("reference", "a", "b", "mask")}
            policy = ppo_math.policy_loss(logprobs[rows], one["reference"], one["a"], one["mask"], 0.2, tokens).loss
            value = ppo_math.value_loss(values[rows], one["a"], one["b"], one["mask"], 0.2, tokens).loss
            (policy + value).backward()
        return logprobs.grad, values.grad

    for whole, cut in zip(gradient(B), gradient(size), strict=True):
        torch.testing.assert_close(cut, whole, rtol=0, atol=1e-15)


def test_gradients_in_single_precision_match_double(batch):
    tokens = int(batch["mask"].sum())

    def gradient(dtype):
        logprobs = batch["logprobs"].to(dtype).requires_grad_()
        others = (batch[name].to(dtype) for name in ("reference", "a"))
        ppo_math.policy_loss(logprobs, *others, batch["mask"], 0.2, tokens).loss.backward()
        return logprobs.grad.double()

    torch.testing.assert_close(gradient(torch.float32), gradient(torch.float64), rtol=1e-5, atol=1e-7)


def test_policy_gradient_is_minus_advantage_at_ratio_one(batch):
    tokens = int(batch["mask"].sum())
    logprobs = batch["logprobs"].clone().requires_grad_()
    ppo_math.policy_loss(logprobs, batch["logprobs"], batch["a"], batch["mask"], 0.2, tokens).loss.backward()
    torch.testing.assert_close(logprobs.grad, torch.where(batch["mask"], -batch["a"] / tokens, 0.0))


def test_explained_variance(batch):
    assert ppo_math.explained_variance(batch["a"], batch["a"], batch["mask"]) == 1.0
    assert ppo_math.explained_variance(torch.full_like(batch["a"], 2.0), batch["a"], batch["mask"]) == pytest.approx(
        0.0
    )


def test_warm_up_goes_from_a_tenth_to_the_peak_in_ten_iterations():
    assert ppo_math.warm_up(0, 10) == pytest.approx(0.1)
    assert ppo_math.warm_up(9, 10) == 1.0
    assert ppo_math.warm_up(400, 10) == 1.0
    assert ppo_math.warm_up(0, 1) == 1.0
    steps = np.diff([ppo_math.warm_up(i, 10) for i in range(10)])
    np.testing.assert_allclose(steps, 0.1)


def test_kl_controller_follows_its_error_within_its_clip():
    assert ppo_math.adapted_kl_coefficient(0.1, 6.0, 6.0, 64, 10_000) == 0.1
    assert ppo_math.adapted_kl_coefficient(0.1, 600.0, 6.0, 64, 10_000) == pytest.approx(0.1 * (1 + 0.2 * 64 / 10_000))
    assert ppo_math.adapted_kl_coefficient(0.1, 0.0, 6.0, 64, 10_000) == pytest.approx(0.1 * (1 - 0.2 * 64 / 10_000))


@pytest.mark.parametrize("n", [1, 2, 4, 16])
def test_best_of_n_is_no_further_than_its_bound_and_near_it_for_many_texts(n):
    share = np.random.default_rng(0).dirichlet(np.ones(2000))  # of each text, from the worst to the best
    below = np.concatenate([[0.0], np.cumsum(share)])
    best = below[1:] ** n - below[:-1] ** n
    kl = float(np.sum(best * np.log(best / share)))
    assert kl <= ppo_math.best_of_kl_nats(n) + 1e-9
    assert kl == pytest.approx(ppo_math.best_of_kl_nats(n), abs=0.02)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_best_of_weights_are_shares_of_all_choices(n):
    chosen = [max(subset) for subset in itertools.combinations(range(5), n)]
    assert ppo_math.best_of_weights(5, n) == pytest.approx([chosen.count(rank) / len(chosen) for rank in range(5)])
