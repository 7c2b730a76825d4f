"""What servers and trainers share: packed forward, log-probs, sampling, checkpoints. Needs torch."""
