"""Where things lie in a round's directory."""

from __future__ import annotations

from ..labelling.items import ITEMS
from ..labelling.store import STORE

SAMPLES = "samples.jsonl"
"""Every answer that was sampled, question by question."""
RANKINGS, HELDOUT = "rankings.jsonl", "rankings_heldout.jsonl"
"""To train on, and kept from it; rows as `rewardplane train reward` reads them."""
LEARNT = "rankings_learnt.jsonl"
"""The rankings of all rounds that the reward model learns."""
COMPARISON = "comparison.json"
LOCK = ".lock"
REWARD_RUN, POLICY_RUN = "reward", "ppo"
"""Directories of the two trainings."""

FILES = (SAMPLES, ITEMS, STORE, RANKINGS, HELDOUT, COMPARISON)
"""What a round has beside its record and its checkpoints."""
