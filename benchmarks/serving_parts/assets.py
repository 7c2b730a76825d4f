"""The model and the texts of the benchmark: made once, the same for every server.

Texts are pieces of Python's standard library. A pair's text is cut so that tokenizing it whole gives the same ids
as tokenizing question and answer apart: then every server computes the same tokens, whichever way it reads a pair.

python assets.py DIRECTORY makes them; torch is imported for that only.
"""

from __future__ import annotations

import json
import random
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

VOCABULARY = 32000
BOS, EOS, PAD = "<s>", "</s>", "<pad>"
POSITIONS = 1024
BLOCK = 64
"""Pairs come in blocks with the same spread of lengths, so that any few blocks have the same mean."""
BLOCKS = 125
GROUPS = 768
ANSWERS = 9
GROUP_BLOCK = 32
LENGTHS = NormalDist(4.86, 0.72)
"""Of ln(tokens): median 129 and, clipped to 20..512, mean 161."""
SHORTEST, LONGEST = 20, 512
QUESTION_SHARE = 0.4
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "max_position_embeddings": POSITIONS,
}


@dataclass(frozen=True)
class Request:
    """What one call asks: a question and one answer, or K of them."""

    question: str
    answers: tuple[str, ...]
    tokens: tuple[int, ...]
    """Of each pair, start and stop tokens included."""
    answer_tokens: tuple[int, ...]

    @property
    def texts(self) -> list[str]:
        """Each pair as one text that tokenizes to the pair's ids, but for the start token."""
        return [self.question + answer + EOS for answer in self.answers]


@dataclass(frozen=True)
class Assets:
    """Directories of the models, and the requests."""

    reward: Path
    causal: Path
    pairs: Path
    groups: Path

    @classmethod
    def at(cls, directory: Path) -> Assets:
        return cls(directory / "reward", directory / "causal", directory / "pairs.jsonl", directory / "groups.jsonl")


def read_requests(path: Path) -> list[Request]:
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [Request(r["question"], tuple(r["answers"]), tuple(r["tokens"]), tuple(r["answer_tokens"])) for r in rows]


def block_lengths(size: int, rng: random.Random) -> list[int]:
    """One length from each `size`-th part of the distribution, in random order."""
    lengths = [
        min(max(round(2.718281828 ** LENGTHS.inv_cdf((i + 0.5) / size)), SHORTEST), LONGEST) for i in range(size)
    ]
    rng.shuffle(lengths)
    return lengths


def make_assets(directory: Path) -> None:
    """Writes tokenizer, two models with random weights, pairs and groups."""
    sources = list(_sources())
    tokenizer = _train_tokenizer(sources)
    for name in ("reward", "causal"):
        _save_model(directory / name, name, tokenizer)
    cutter = _Cutter(tokenizer, sources)
    rng = random.Random(0)
    pairs = [cutter.cut(length, 1) for _ in range(BLOCKS) for length in block_lengths(BLOCK, rng)]
    groups = [
        cutter.cut(length, ANSWERS) for _ in range(GROUPS // GROUP_BLOCK) for length in block_lengths(GROUP_BLOCK, rng)
    ]
    _write(directory / "groups.jsonl", groups)
    _write(directory / "pairs.jsonl", pairs)  # last: its being there says that all is


def _sources() -> Iterator[str]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        if "site-packages" not in path.parts:
            text = path.read_text(encoding="utf-8", errors="replace")
            if len(text) > 2000 and text.isascii():
                yield text


def _train_tokenizer(sources: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sources, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD)


def _save_model(directory: Path, name: str, tokenizer: Any) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE, bos_token_id=0, eos_token_id=1, pad_token_id=2, num_labels=1)
    model = (LlamaForSequenceClassification if name == "reward" else LlamaForCausalLM)(config)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


class _Cutter:
    """Cuts requests out of the sources, each piece of text used once."""

    def __init__(self, tokenizer: Any, sources: Sequence[str]) -> None:
        self._tokenizer = tokenizer.backend_tokenizer
        order = list(sources)
        random.Random(1).shuffle(order)
        self._sources = iter(order)
        self._text = ""
        self._starts: list[tuple[int, int]] = []  # of each token: its place in the text, and its word's number
        self._at = 0  # the next token

    def cut(self, tokens: int, answers: int) -> Request:
        """A question and answers that have about `tokens` tokens a pair."""
        question_tokens = max(4, round(QUESTION_SHARE * tokens) - 1)
        answer_tokens = max(4, tokens - question_tokens - 2)
        while True:
            question = self._piece(question_tokens)
            texts = tuple(self._piece(answer_tokens) for _ in range(answers))
            sizes = [self._check(question, text) for text in texts]
            if all(sizes):
                return Request(question, texts, *zip(*(size for size in sizes if size), strict=True))

    def _piece(self, tokens: int) -> str:
        """The next text of about so many tokens, from the beginning of a word to that of another."""
        while self._at + tokens >= len(self._starts):
            self._text = next(self._sources)
            encoding = self._tokenizer.encode(self._text, add_special_tokens=False)
            starts = (start for start, _ in encoding.offsets)
            self._starts = list(zip(starts, encoding.word_ids, strict=True))
            self._at = 0
        # A text begins where a word does: inside of one, its tokens would be others.
        first, last = self._word_start(self._at), self._word_start(self._at + tokens)
        self._at = max(last, self._at + 1)
        return self._text[self._starts[first][0] : self._starts[last][0]]

    def _word_start(self, at: int) -> int:
        while at and self._starts[at][1] == self._starts[at - 1][1]:
            at -= 1
        return at

    def _check(self, question: str, answer: str) -> tuple[int, int] | None:
        """The tokens of the pair and of its answer; None when the whole text has others than its parts."""
        encode = self._tokenizer.encode
        parts = encode(question).ids, encode(answer, add_special_tokens=False).ids
        if not question or not answer or encode(question + answer + EOS).ids != [*parts[0], *parts[1], 1]:
            return None
        return len(parts[0]) + len(parts[1]) + 1, len(parts[1]) + 1


def _write(path: Path, requests: Sequence[Request]) -> None:
    rows = [
        {"question": r.question, "answers": r.answers, "tokens": r.tokens, "answer_tokens": r.answer_tokens}
        for r in requests
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    make_assets(Path(sys.argv[1]))
