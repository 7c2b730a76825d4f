"""Serves a reward model without a model on a real Triton: python pytriton_reward.py PORT, in PyTriton's environment.

The score of a pair is the length of its question in characters plus a hundredth of its answer's; a batch is 4 pairs at
most, which Triton makes of the requests of all callers.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


@batch
def infer(question: np.ndarray, answer: np.ndarray) -> dict[str, np.ndarray]:  # bytes[n, 1] each
    rows = zip(question[:, 0], answer[:, 0], strict=True)
    return {"score": np.array([[len(q.decode()) + len(a.decode()) / 100] for q, a in rows], np.float32)}


def main() -> None:
    with tempfile.TemporaryDirectory() as workspace:
        config = TritonConfig(
            grpc_port=int(sys.argv[1]), grpc_address="127.0.0.1", allow_http=False, allow_metrics=False
        )
        with Triton(config=config, workspace=Path(workspace) / "triton") as triton:
            triton.bind(
                model_name="rm",
                infer_func=infer,
                inputs=[Tensor(name=name, dtype=bytes, shape=(1,)) for name in ("question", "answer")],
                outputs=[Tensor(name="score", dtype=np.float32, shape=(1,))],
                config=ModelConfig(max_batch_size=4, batcher=DynamicBatcher(max_queue_delay_microseconds=1000)),
            )
            triton.serve()


if __name__ == "__main__":
    main()
