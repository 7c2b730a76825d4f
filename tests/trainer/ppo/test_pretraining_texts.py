"""Pretraining texts of any length."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import Configure
from ppo_runs import figures, write_lines
from rewardplane.trainer.ppo.pretraining import encode_texts
from rewardplane.trainer.ppo.train import run_ppo
from servers import served
from tiny_models import make_tokenizer, save_tiny

from rewardplane.modeling.encoding import PairEncoder


def test_text_is_every_token_after_its_first_and_long_ones_lose_their_end() -> None:
    encoder = PairEncoder(make_tokenizer(), [1], 320)
    digits = [encoder.encode_answer(digit, ended=False)[0] for digit in "789"]
    whole, cut = encode_texts(["789", "789789"], encoder, max_tokens=5)
    assert np.concatenate([whole.question_ids, whole.answer_ids]).tolist() == [0, *digits, 1]  # <s> 7 8 9 </s>
    assert np.concatenate([cut.question_ids, cut.answer_ids]).tolist() == [0, *digits, digits[0]]
    assert len(whole.question_ids) == len(cut.question_ids) == 1


@pytest.mark.parametrize("max_tokens", [1, 2])
def test_text_without_a_token_to_predict_is_left_out(max_tokens: int) -> None:
    encoder = PairEncoder(make_tokenizer(), [1], 320)
    assert len(encode_texts(["789"], encoder, max_tokens)) == max_tokens - 1


def test_text_longer_than_the_model_has_positions_is_cut(tmp_path: Path, configure: Configure) -> None:
    save_tiny(tmp_path / "gpt2", "sft", "gpt2")  # 256 learned positions: token 257 has none
    with served("reference", tmp_path / "gpt2") as reference:
        overrides = {
            "updates": 1,
            "policy.path": str(tmp_path / "gpt2"),
            "reference.target": reference.target,
            "data.pretraining": str(write_lines(tmp_path / "long.jsonl", "text", ["7" * 300])),
            "evaluation.prompts": None,
        }
        run_ppo(configure(tmp_path, overrides))
    (row,) = figures(tmp_path / "run")
    assert math.isfinite(row["ptx_loss"])
