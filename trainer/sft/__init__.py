"""Supervised fine-tuning, or pretraining from scratch: the first step of InstructGPT (arXiv:2203.02155)."""
