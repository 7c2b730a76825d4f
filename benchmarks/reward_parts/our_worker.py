"""Trains on whole questions, block by block: our_worker.py shared|separate QUESTIONS

"shared" is what `rewardplane train reward` runs: one packed tree, the question once. "separate" is the same loss over
K packed sequences that each hold the question.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from rewardplane.process import prepare_process

prepare_process()

import torch  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1] / "ppo_parts"))

from blocks import Blocks  # noqa: E402
from questions import K, make_model, ranked_answers  # noqa: E402
from rewardplane.trainer.optim import Optimizer, OptimizerConfig  # noqa: E402
from rewardplane.trainer.reward.groups import Group  # noqa: E402
from rewardplane.trainer.reward.loss import kwise_loss  # noqa: E402
from rewardplane.trainer.reward.train import accumulate  # noqa: E402

from rewardplane.modeling.models import packed_scores, prepare  # noqa: E402
from rewardplane.modeling.packing import pack, packed_length  # noqa: E402

MICRO_BATCH_TOKENS = 1024
NEVER_SHARED = 1_000_000


def accumulate_separate(model: torch.nn.Module, groups: list[Group]) -> None:
    """A question at a time: K sequences of its own tokens and the answer's."""
    for group in groups:
        scores = packed_scores(model, pack(group.pairs, min_shared_tokens=NEVER_SHARED))
        loss, _ = kwise_loss(scores, [group.ranks])
        (loss / len(groups)).backward()


def main() -> None:
    form, questions = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    model = make_model().eval()
    prepare(model)
    optimizer = Optimizer([model], OptimizerConfig(learning_rate=1e-5), total_updates=1_000_000)
    blocks = Blocks()
    blocks.wait()
    for update in itertools.count():
        groups = []
        for number in range(update * questions, (update + 1) * questions):
            pairs = tuple(ranked_answers(number))
            groups.append(Group(pairs, tuple(range(K)), packed_length(pairs)))
        if form == "shared":
            accumulate(model, groups, MICRO_BATCH_TOKENS, "float32")
        else:
            accumulate_separate(model, groups)
        optimizer.step(update)
        blocks.update_done({})


if __name__ == "__main__":
    main()
