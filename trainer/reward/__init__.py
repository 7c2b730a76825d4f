"""The reward model: trained on people's rankings (InstructGPT, arXiv:2203.02155, section 3.5)."""
