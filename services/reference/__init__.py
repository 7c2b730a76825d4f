"""The frozen SFT reference: log-probs of given answers."""
