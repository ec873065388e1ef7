"""What `--help` needs of this room comes without anything heavy."""

import pytest
from conftest import heavy_imports


@pytest.mark.parametrize("name", ["atomic", "locks", "outputs", "user_dirs", "cores"])
def test_nothing_heavy_is_imported(name):
    assert heavy_imports(f"dpenet_cli.system.{name}") == set()
