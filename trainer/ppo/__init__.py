"""PPO against a reward model and a frozen reference that answer over gRPC (InstructGPT, arXiv:2203.02155)."""
