"""Answers sampled from a served policy, kept as they come: a killed sampling goes on after the last whole part.

A part is PART_QUESTIONS questions at one time. Its seeds are functions of the round's seed and its place, so the
answers are those of an undisturbed sampling.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rewardplane import Client

from ..batches import by_count
from ..config import ConfigError
from ..conversation import Question, question_as_row, question_of
from .config import RoundConfig
from .servers import TIMEOUT_S

log = logging.getLogger(__name__)

PART_QUESTIONS = 16


@dataclass(frozen=True)
class Candidate:
    """One sampled answer."""

    text: str
    temperature: float


@dataclass(frozen=True)
class Candidates:
    """All answers that were sampled for one question."""

    question: Question
    answers: tuple[Candidate, ...]


def sample_candidates(
    target: str, questions: Sequence[Question], settings: RoundConfig, digest: str, path: Path
) -> list[Candidates]:
    """Answers to all questions, from `path` as far as they are there; what is missing is asked of the server.

    Raises ConfigError when `path` has answers of another policy, RewardplaneError when the server holds one.
    """
    done = _read(path, questions, digest)
    log.info("%d of %d questions were sampled before", len(done), len(questions))
    with Client(target, timeout_s=TIMEOUT_S) as client, path.open("a", encoding="utf-8") as file:
        for places in by_count(range(len(done), len(questions)), PART_QUESTIONS):
            part = [questions[i] for i in places]
            new = _sample_part(client, part, settings, digest, places[0])
            file.writelines(json.dumps(_as_row(one, digest), ensure_ascii=False) + "\n" for one in new)
            file.flush()
            os.fsync(file.fileno())
            done += new
    return done


def _sample_part(
    client: Client, questions: Sequence[Question], settings: RoundConfig, digest: str, place: int
) -> list[Candidates]:
    sample = settings.sample
    each = math.ceil(sample.answers * sample.oversample / len(sample.temperatures))
    found: list[list[Candidate]] = [[] for _ in questions]
    for number, temperature in enumerate(sample.temperatures):
        seed = int(np.random.SeedSequence([settings.seed, place, number]).generate_state(1, np.uint32)[0])
        reply = client.generate(
            questions, answers_per_question=each, max_answer_tokens=settings.max_answer_tokens,
            temperature=temperature, seed=seed, expected_checkpoint_digest=digest,
        )  # fmt: skip
        for own, answers in zip(found, reply.answers, strict=True):
            own += [Candidate(answer.text, temperature) for answer in answers]
    return [Candidates(question, tuple(own)) for question, own in zip(questions, found, strict=True)]


def _as_row(one: Candidates, digest: str) -> dict[str, object]:
    answers = [{"text": answer.text, "temperature": answer.temperature} for answer in one.answers]
    return {"question": question_as_row(one.question), "answers": answers, "policy": digest}


def _read(path: Path, questions: Sequence[Question], digest: str) -> list[Candidates]:
    """The whole parts of the file, which loses what is left of a torn one."""
    if not path.exists():
        return []
    *lines, _ = path.read_bytes().split(b"\n")
    whole = len(lines) if len(lines) == len(questions) else len(lines) - len(lines) % PART_QUESTIONS
    rows = [json.loads(line) for line in lines[:whole]]
    os.truncate(path, sum(len(line) + 1 for line in lines[:whole]))
    if any(row["policy"] != digest for row in rows):
        raise ConfigError(f"{path} has answers of another policy; remove it to sample anew")
    found = [Candidates(question_of(row), tuple(Candidate(**answer) for answer in row["answers"])) for row in rows]
    if [one.question for one in found] != list(questions[:whole]):
        raise ConfigError(f"{path} has answers to other questions: did the prompts change? Remove it to sample anew")
    return found
