"""What is sampled and which answers of it are ranked."""

from __future__ import annotations

from pathlib import Path

import pytest
from rewardplane.trainer.config import ConfigError
from rewardplane.trainer.rounds.candidates import PART_QUESTIONS, Candidate, sample_candidates
from rewardplane.trainer.rounds.diverse import choose_answers
from rewardplane.trainer.rounds.place import Round
from rewardplane.trainer.rounds.sample import pool_of
from rewardplane.trainer.rounds.servers import Serve

from rewardplane.errors import DigestMismatch

NOWHERE = "127.0.0.1:1"


def test_a_killed_sampling_goes_on_after_the_last_whole_part(labelled: Round, serve: Serve, tmp_path: Path) -> None:
    undisturbed = (labelled.directory / "samples.jsonl").read_bytes()
    questions, settings, digest = pool_of(labelled), labelled.record.settings, labelled.record.policy_digest
    assert len(questions) == 25  # 20 wanted, times 1.25: a part of 16 and one of 9
    lines = undisturbed.splitlines(keepends=True)
    path = tmp_path / "samples.jsonl"
    path.write_bytes(b"".join(lines[: PART_QUESTIONS + 3]) + lines[PART_QUESTIONS + 3][:20])
    with serve("policy", labelled.sampled_policy()) as target:
        sample_candidates(target, questions, settings, digest, path)
    assert path.read_bytes() == undisturbed


def test_what_was_sampled_is_not_sampled_again(labelled: Round) -> None:
    path = labelled.directory / "samples.jsonl"
    questions, settings = pool_of(labelled), labelled.record.settings
    found = sample_candidates(NOWHERE, questions, settings, labelled.record.policy_digest, path)
    assert [one.question for one in found] == questions
    # 3 answers times 2, half of them at each of two temperatures
    assert [answer.temperature for answer in found[0].answers] == [0.8] * 3 + [1.2] * 3
    with pytest.raises(ConfigError, match="answers of another policy"):
        sample_candidates(NOWHERE, questions, settings, "0" * 64, path)
    with pytest.raises(ConfigError, match="did the prompts change"):
        sample_candidates(NOWHERE, questions[::-1], settings, labelled.record.policy_digest, path)


def test_answers_of_another_policy_are_never_taken(labelled: Round, serve: Serve, tmp_path: Path) -> None:
    settings = labelled.record.settings
    with serve("policy", labelled.sampled_policy()) as target, pytest.raises(DigestMismatch):
        sample_candidates(target, pool_of(labelled), settings, "0" * 64, tmp_path / "samples.jsonl")


def candidates(*texts: tuple[str, float]) -> list[Candidate]:
    return [Candidate(text, temperature) for text, temperature in texts]


def test_duplicates_and_answers_without_words_are_dropped() -> None:
    sampled = candidates((" Good.", 1.0), ("good", 1.0), ("...", 1.0), ("", 1.0), ("bad", 1.0), ("BAD !", 1.0))
    chosen = choose_answers(sampled, 2)
    assert chosen is not None
    assert [one.text for one in chosen] == [" Good.", "bad"]
    assert choose_answers(sampled, 3) is None


def test_answers_come_from_all_temperatures_in_turn() -> None:
    sampled = candidates(("a", 0.5), ("b", 0.5), ("c", 0.5), ("d", 1.0), ("e", 1.0), ("f", 1.5))
    chosen = choose_answers(sampled, 5)
    assert chosen is not None
    assert [one.text for one in chosen] == ["a", "d", "f", "b", "e"]


def test_matched_lengths_are_the_closest_that_there_are() -> None:
    sampled = candidates(("a" * 3, 1.0), ("b" * 40, 1.0), ("c" * 10, 1.0), ("d" * 41, 1.0), ("e" * 12, 1.0))
    chosen = choose_answers(sampled, 2, match_lengths=True)
    assert chosen is not None
    assert [len(one.text) for one in chosen] == [40, 41]
    three = choose_answers(sampled, 3, match_lengths=True)
    assert three is not None
    assert [len(one.text) for one in three] == [12, 40, 41]  # 3.4 times as long; 10 to 40 are 4 times, 3 to 12 too
