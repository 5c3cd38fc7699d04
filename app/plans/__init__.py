"""The order of the loop's steps: snapshot, SFT, RM, PPO, sample, next round."""
