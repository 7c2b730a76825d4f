"""The reward model: one scalar for each question and answer."""
