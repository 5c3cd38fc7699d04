"""The reward model that every run of PPO here scores with."""

from pathlib import Path

import pytest

from tests.training.ppo.runs import saved_reward_model


@pytest.fixture(scope="module")
def reward_model(miniature, tmp_path_factory) -> Path:
    """Write a random reward model that claims to be a good one."""
    return saved_reward_model(miniature, tmp_path_factory.mktemp("reward_model"), low=0.6)
