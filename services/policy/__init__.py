"""A policy checkpoint: scores, log-probs and answers."""
