"""Turns rated texts into the JSONL files that the trainers read."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from ..jsonl import Row
from .vader_data import FILM, RatedText, split_texts


@dataclass(frozen=True)
class PrepareConfig:
    sft_texts: int | None = None  # as many of them, at random; None: all
    group_size: int = 9  # InstructGPT ranks K = 4..9 answers a question
    group_epochs: int = 1  # every epoch groups the texts anew
    question_words: tuple[int, int] = (4, 8)  # a prompt is so many first words of a text, ends included
    held_out_prompts: int = 256
    seed: int = 0


@dataclass(frozen=True)
class PreparedData:
    """Paths of the files, all inside one directory; no held-out text is in a file without "heldout"."""

    sft: Path  # {"question": "", "answer": whole text}
    sft_heldout: Path
    ranked: Path  # {"question": "", "answers": [K texts], "ratings": [K mean ratings]}
    ranked_heldout: Path  # film texts only
    prompts: Path  # {"question": first words of a training text}
    prompts_heldout: Path  # {"question": first words of a held-out text}, none of them also in prompts
    pretraining: Path  # {"text": whole text}
    training_texts: int
    heldout_texts: int


def prepare(texts: Sequence[RatedText], directory: Path, config: PrepareConfig) -> PreparedData:
    """Splits the texts and writes every file; the same texts and config give the same bytes.

    Raises ValueError where the held-out texts are too few.
    """
    training, held_out = split_texts(tuple(texts))
    film = [text for text in held_out if text.source == FILM]
    rngs = np.random.default_rng(config.seed).spawn(5)
    shuffled = [training[i] for i in rngs[0].permutation(len(training))]
    groups = list(
        chain.from_iterable(ranked_groups(training, config.group_size, rngs[1]) for _ in range(config.group_epochs))
    )
    prompts = prompt_rows(training, config.question_words, rngs[3])
    seen = {row["question"] for row in prompts}
    unseen = [row for row in prompt_rows(held_out, config.question_words, rngs[4]) if row["question"] not in seen]
    if len(unseen) < config.held_out_prompts:
        raise ValueError(f"wanted {config.held_out_prompts} held-out prompts, the texts give {len(unseen)}")
    directory.mkdir(parents=True, exist_ok=True)
    return PreparedData(
        sft=write_jsonl(directory / "sft.jsonl", sft_rows(shuffled[: config.sft_texts])),
        sft_heldout=write_jsonl(directory / "sft_heldout.jsonl", sft_rows(held_out)),
        ranked=write_jsonl(directory / "ranked.jsonl", groups),
        ranked_heldout=write_jsonl(directory / "ranked_heldout.jsonl", ranked_groups(film, config.group_size, rngs[2])),
        prompts=write_jsonl(directory / "prompts.jsonl", prompts),
        prompts_heldout=write_jsonl(directory / "prompts_heldout.jsonl", unseen[: config.held_out_prompts]),
        pretraining=write_jsonl(directory / "pretraining.jsonl", [{"text": text.text} for text in shuffled]),
        training_texts=len(training),
        heldout_texts=len(held_out),
    )


def sft_rows(texts: Iterable[RatedText]) -> list[Row]:
    """Gives rows where the whole text answers an empty question, so that every word is learnt."""
    return [{"question": "", "answer": text.text} for text in texts]


def question_rows(texts: Iterable[RatedText], word_range: tuple[int, int], rng: np.random.Generator) -> list[Row]:
    """Gives rows whose question is the beginning of a text and whose answer is the rest, blanks included.

    question + answer is the text again, so a tokenizer that never joins words over a blank gives the tokens
    of the whole. Each text is cut after a random number of words in `word_range`, both ends included;
    texts too short to leave at least one word for the answer are left out. Shuffled.
    """
    low, high = word_range
    rows: list[Row] = []
    for text in texts:
        ends = [match.end() for match in re.finditer(r"\S+", text.text)]
        if len(ends) > low:
            cut = ends[int(rng.integers(low, min(high, len(ends) - 1) + 1)) - 1]
            rows.append({"question": text.text[:cut], "answer": text.text[cut:]})
    return [rows[i] for i in rng.permutation(len(rows))]


def prompt_rows(texts: Iterable[RatedText], word_range: tuple[int, int], rng: np.random.Generator) -> list[Row]:
    """Gives the questions of question_rows without answers, each once."""
    questions = dict.fromkeys(str(row["question"]) for row in question_rows(texts, word_range, rng))
    return [{"question": question} for question in questions]


def ranked_groups(texts: Sequence[RatedText], group_size: int, rng: np.random.Generator) -> list[Row]:
    """Draws groups of texts of one source at random; every text is in exactly one group.

    What does not fill a group makes a smaller last one; a single left-over text joins the group before.
    People's mean ratings come along: the order of a group is theirs, equal means are ties.
    Raises ValueError for a group size below 2 and for a source with a single text.
    """
    if group_size < 2:
        raise ValueError(f"a ranked group needs 2 texts or more, not {group_size}")
    groups: list[list[RatedText]] = []
    for source in dict.fromkeys(text.source for text in texts):
        own = [text for text in texts if text.source == source]
        if len(own) == 1:
            raise ValueError(f"the only {source} text has nothing to be ranked against")
        drawn = [own[i] for i in rng.permutation(len(own))]
        cut = [drawn[i : i + group_size] for i in range(0, len(drawn), group_size)]
        if len(cut[-1]) == 1:
            single = cut.pop()
            cut[-1] += single
        groups += cut
    return [
        {"question": "", "answers": [t.text for t in group], "ratings": [t.rating for t in group]}
        for group in (groups[i] for i in rng.permutation(len(groups)))
    ]


def write_jsonl(path: Path, rows: Iterable[Row]) -> Path:
    """Writes one JSON object a line and gives the path back."""
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    return path
