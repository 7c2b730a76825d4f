"""Tiny random models that speak in words which the sentiment lexicon knows."""

from __future__ import annotations

import json
from pathlib import Path

from tiny_models import make_model
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from rewardplane.modeling.checkpoint import save_checkpoint
from rewardplane.modeling.encoding import PairEncoder

SPECIAL = ("<s>", "</s>", "<pad>", "<unk>")
WORDS = (
    "good", "bad", "great", "awful", "nice", "horrible", "lovely", "boring", "happy", "sad", "best", "worst", "film",
    "the", "plot", "end", "it", "was", "and", "a", "long", "short", "story", "actor", "scene", "camera", "music",
    "seen", "again", "never", "once",
)  # fmt: skip
QUESTIONS = [f"{a} {b} {c}" for a in ("the", "a", "it") for b in ("film", "plot", "end", "story") for c in WORDS[12:24]]


def make_word_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def save_word_model(directory: Path, *, seed: int = 0) -> Path:
    """An SFT checkpoint."""
    tokenizer = make_word_tokenizer()
    model = make_model("sft", seed=seed, vocab_size=len(SPECIAL) + len(WORDS))
    encoder = PairEncoder(tokenizer, [1], model.config.vocab_size)
    save_checkpoint(
        directory, model, tokenizer, tokenizer_fingerprint=encoder.fingerprint, model_name="sft", kind="sft"
    )
    return directory


def write_settings(directory: Path, sft: Path, **changed: str) -> Path:
    """round.toml with prompts beside it; `changed` are lines by dotted key."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, questions in (("prompts", QUESTIONS[:120]), ("heldout", QUESTIONS[120:124])):
        rows = "".join(json.dumps({"question": question}) + "\n" for question in questions)
        (directory / f"{name}.jsonl").write_text(rows)
    lines = {
        "seed": "3",
        "sft": f'"{sft}"',
        "prompts": f'"{directory}/prompts.jsonl"',
        "heldout_prompts": f'"{directory}/heldout.jsonl"',
        "max_answer_tokens": "6",
        "sample.questions": "20",
        "sample.answers": "3",
        "sample.temperatures": "[0.8, 1.2]",
        "sample.oversample": "2.0",
        "label.heldout_ratio": "0.3",
        "reward.optimizer.learning_rate": "3e-3",
        "reward.batch_questions": "4",
        "policy.updates": "3",
        "policy.questions_per_update": "4",
        "policy.evaluate_every": "1",
        "policy.save_every": "1",
        "policy.score.normalise_answers": "8",
        "policy.ppo.minibatches": "1",
        "policy.policy_optimizer.learning_rate": "3e-3",
        "policy.value_optimizer.learning_rate": "3e-3",
        **{name.replace("__", "."): value for name, value in changed.items()},
    }
    path = directory / "round.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
    return path
