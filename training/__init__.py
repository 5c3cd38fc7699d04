"""Training on what people wrote and ranked: SFT, K-wise reward models, PPO-ptx, sampling; it never knows the web."""
