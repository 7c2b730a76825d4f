"""What is measured, at the sizes of a GPU or at those of a try on a CPU."""

from __future__ import annotations

from pathlib import Path

from gpu_parts.ceilings import Ceilings
from result_file import Bar

Rows = list[dict[str, object]]
NAMES = ("correctness", "scoring", "sharing", "precision", "head", "sampling", "served", "ppo")


# Each part imports what it needs: one whose packages are missing leaves the others alone.


class Parts:
    """One method a part."""

    def __init__(self, device: str, tiny: bool, ceilings: Ceilings, directory: Path) -> None:
        self.device, self.tiny, self.ceilings, self.directory = device, tiny, ceilings, directory
        self.row_tokens = 1024 if tiny else 32768

    def correctness(self) -> tuple[Rows, list[Bar]]:
        from gpu_parts.correctness import check

        return check(self.device)

    def scoring(self) -> tuple[Rows, list[Bar]]:
        from gpu_parts.scoring import throughput

        return throughput(["tiny"] if self.tiny else ["135M", "1B", "7B"], self.row_tokens, self.device, self.ceilings)

    def sharing(self) -> tuple[Rows, list[Bar]]:
        from gpu_parts.scoring import sharing

        if self.tiny:
            return sharing("tiny", 4, self.device, (128, 16))
        return sharing("1B", 32, self.device)

    def precision(self) -> tuple[Rows, list[Bar]]:
        from gpu_parts.scoring import precision

        return precision("tiny" if self.tiny else "1B", 4 if self.tiny else 64, self.device)

    def head(self) -> tuple[Rows, list[Bar]]:
        from gpu_parts.head import log_probs

        return log_probs(*((256, 512, 64) if self.tiny else (65536, 128256, 2048)), self.device)

    def sampling(self) -> tuple[Rows, list[Bar]]:
        from gpu_parts.sampling import sampling

        if self.tiny:
            return sampling("tiny", [1, 4], 8, self.device, self.ceilings)
        return sampling("1B", [1, 32, 256], 128, self.device, self.ceilings)

    def served(self) -> tuple[Rows, list[Bar]]:
        from gpu_parts.checkpoints import save_models
        from gpu_parts.served import over_grpc
        from gpu_parts.shapes import SHAPES

        name = "tiny" if self.tiny else "1B"
        save_models(self.directory / name, name, ("reward",))
        return over_grpc(
            self.directory / name / "reward",
            SHAPES[name].vocabulary,
            self.row_tokens,
            2 if self.tiny else 16,
            self.device,
        )

    def ppo(self) -> tuple[Rows, list[Bar]]:
        from gpu_parts.ppo import updates

        name, questions, tokens = ("tiny", 8, 8) if self.tiny else ("1B", 128, 128)
        return updates(name, questions, tokens, self.device, self.directory / name)
