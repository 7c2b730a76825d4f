"""NVIDIA Triton (PyTriton 0.7.0) with a padded batch of a Hugging Face model, as NeMo-Aligner serves reward models.

Runs in the environment `pytriton`; needs nothing of ours.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from padded_reward import PaddedReward
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

MAX_BATCH = 64
QUEUE_DELAY_US = 2000


def main() -> None:
    directory, port = sys.argv[1:]
    model = PaddedReward(directory)

    @batch
    def infer(question: np.ndarray, answer: np.ndarray) -> dict[str, np.ndarray]:  # bytes[n, 1] each
        texts = [[text.decode() for text in column[:, 0]] for column in (question, answer)]
        return {"score": np.array(model.scores(*texts), np.float32)[:, None]}

    with tempfile.TemporaryDirectory() as workspace:
        config = TritonConfig(
            grpc_port=int(port), grpc_address="127.0.0.1", allow_http=False, allow_metrics=False, exit_timeout_secs=1
        )
        with Triton(config=config, workspace=Path(workspace) / "triton") as triton:
            triton.bind(
                model_name="rm",
                infer_func=infer,
                inputs=[
                    Tensor(name="question", dtype=bytes, shape=(1,)),
                    Tensor(name="answer", dtype=bytes, shape=(1,)),
                ],
                outputs=[Tensor(name="score", dtype=np.float32, shape=(1,))],
                config=ModelConfig(
                    max_batch_size=MAX_BATCH,
                    batcher=DynamicBatcher(max_queue_delay_microseconds=QUEUE_DELAY_US),
                ),
            )
            triton.serve()


if __name__ == "__main__":
    main()
