"""The parts of benchmarks/rounds.py: the language model, the experiments, the tables."""
