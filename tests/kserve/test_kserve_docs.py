"""docs/kserve.md: its example runs, and it names every reason of an error."""

from __future__ import annotations

import re
from pathlib import Path

import rewardplane.services.common.kserve as kserve

DOCS = (Path(__file__).parents[2] / "docs" / "kserve.md").read_text()


def test_the_example_runs(reward, capsys):
    example = re.search(r"```python\n(.*?)```", DOCS, re.DOTALL).group(1)
    example = example.replace("127.0.0.1:50051", reward.target).replace("my-reward-model", "tiny-rm")
    exec(example, {})
    assert re.fullmatch(r"\[\[-?\d.*\]\n \[-?\d.*\]\]\n", capsys.readouterr().out)


def test_every_reason_is_documented():
    sources = Path(kserve.__file__).parent.glob("*.py")
    reasons = {reason for source in sources for reason in re.findall(r'reason="([A-Z_]+)"', source.read_text())}
    assert len(reasons) > 10
    assert not {reason for reason in reasons if f"`{reason}`" not in DOCS}
