"""What runs after what: snapshot, SFT, RM, PPO, sample, next round."""
