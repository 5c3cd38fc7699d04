"""PPO and PPO-ptx: rollouts, rewards and advantages, the update, diagnostics [InstructGPT 3.5, C.4]."""
