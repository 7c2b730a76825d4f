"""round.json: what a round is, and which of its steps are done with what result."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Literal

from rewardplane.modeling.durable import sync_path

from ..config import ConfigError, Section, parse_config
from ..intervals import Estimate
from .config import Choice, RoundConfig

RECORD = "round.json"


class Measured(Section):
    """An `intervals.Estimate`."""

    value: float
    low: float
    high: float
    count: int
    questions: int

    @classmethod
    def of(cls, estimate: Estimate | None) -> Measured | None:
        return None if estimate is None else cls(**vars(estimate))

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


class Sampled(Section):
    policy_digest: str
    """Of the weights that answered."""
    questions: int
    """Items to be ranked."""
    answers: int
    """K."""
    pool: int
    """Questions that were sampled for."""
    choice: Choice
    items_digest: str
    """SHA-256 of items.jsonl."""


class SimulatedRanker(Section):
    """Set where no person ranked."""

    name: str
    noise: float
    """Standard deviation of what is added to the lexicon's scores."""
    agreement: float
    """Share of pairs that it puts in the lexicon's own order, expected over the items of this round."""


class Labelled(Section):
    rankings: int
    """Rankings to train on."""
    heldout: int
    """Rankings kept from training."""
    seconds: float
    """Of all rankings, as recorded; simulated where the ranker is."""
    simulated: SimulatedRanker | None
    rankings_digest: str
    """SHA-256 of rankings.jsonl."""


class RewardTrained(Section):
    path: str
    """From the round's directory."""
    digest: str
    begun_from: str
    """Digest of the model it started from."""
    rounds: tuple[int, ...]
    """Whose rankings it learnt."""
    accuracy: Measured | None
    """On this round's held-out rankings; unset where these have no pair."""
    last_accuracy: Measured | None
    """The same of the last round's reward model: how far the policy has left it. Unset in the first round."""


class PolicyTrained(Section):
    path: str
    """From the round's directory."""
    digest: str
    begun_from: str
    updates: int
    kl_nats: float
    """To the reference, mean over answers to held-out questions."""


class RoundRecord(Section):
    """One version of the loop."""

    format: Literal[1] = 1
    number: int
    parent: str | None
    """Directory (from this one) or URL of the round before."""
    parent_digest: str | None
    """SHA-256 of the parent's round.json."""
    settings: RoundConfig
    sft_digest: str
    """Of the reference."""
    policy_digest: str
    """Of the policy whose answers are ranked: the parent's, or the SFT model."""
    reward_digest: str | None
    """Of the parent's reward model."""
    sampled: Sampled | None = None
    labelled: Labelled | None = None
    reward: RewardTrained | None = None
    policy: PolicyTrained | None = None


def read_record(directory: Path) -> RoundRecord:
    """Raises ConfigError where no round is."""
    path = directory / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{directory} holds no round: `rewardplane round start` makes one") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return parse_config(content, RoundRecord, str(path))


def write_record(directory: Path, record: RoundRecord) -> None:
    """Replaces round.json in one rename."""
    staging = directory / f".{RECORD}"
    staging.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    sync_path(staging)
    os.replace(staging, directory / RECORD)
    sync_path(directory)


def file_digest(path: Path) -> str:
    """Hex SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
