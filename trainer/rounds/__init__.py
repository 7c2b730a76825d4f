"""Rounds of RLHF: sample answers, have them ranked, train the reward model and the policy again."""
