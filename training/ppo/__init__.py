"""PPO and PPO-ptx: rollouts, rewards and advantages, the update, what is watched of a run [InstructGPT 3.5, C.4]."""
