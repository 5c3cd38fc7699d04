"""Training on demonstrations and rankings: SFT, K-wise reward models, PPO-ptx, sampling; independent of the web."""
