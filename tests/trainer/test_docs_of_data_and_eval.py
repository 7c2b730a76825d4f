"""docs/data.md, evaluation.md and labelling.md: every flag and key is there, and every example row is read."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from rewardplane.trainer.data import read_ranked
from rewardplane.trainer.datacheck.command import app as data
from rewardplane.trainer.evaluation.command import app as evaluation
from rewardplane.trainer.evaluation.report import RewardReport
from rewardplane.trainer.labelling.command import app as labelling
from typer.main import get_command

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "app"), [("data.md", data), ("evaluation.md", evaluation), ("labelling.md", labelling)]
)
def test_every_flag_is_documented(page: str, app: object) -> None:
    commands = get_command(app).commands.values()  # type: ignore[arg-type, attr-defined]
    flags = [o for c in commands for p in c.params for o in p.opts if o.startswith("--")]
    text = (DOCS / page).read_text(encoding="utf-8")
    assert len(flags) >= 5
    assert not [flag for flag in flags if f"`{flag}`" not in text]


def test_every_key_of_the_report_is_documented() -> None:
    text = (DOCS / "evaluation.md").read_text(encoding="utf-8")
    assert not [field.name for field in fields(RewardReport) if f"`{field.name}`" not in text]


def test_every_example_row_is_read(tmp_path: Path) -> None:
    blocks = re.findall(r"```json\n(.*?)```", (DOCS / "data.md").read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(blocks), encoding="utf-8")
    assert len(blocks) >= 6
    found = read_ranked(path)
    assert len(found) == sum(block.count("\n") for block in blocks)
    assert {row.source for row in found} == {"", "helpdesk"}
