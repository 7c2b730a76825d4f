"""What processes are told about garbage."""

from __future__ import annotations

import gc

import pytest

from rewardplane.process import importing


def fail_to_import() -> None:
    assert not gc.isenabled()
    import no_such_library  # noqa: F401


def test_collections_come_back_after_imports_and_pass_over_what_these_made() -> None:
    made: list[object] = [[]]
    with pytest.raises(ModuleNotFoundError), importing():
        fail_to_import()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 1000
    assert not any(tracked is made for tracked in gc.get_objects())
