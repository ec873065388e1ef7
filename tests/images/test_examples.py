"""The examples in docstrings run."""

import doctest

import pytest

from dpenet_cli import arrays
from dpenet_cli.images import reading, software, writing


@pytest.mark.parametrize("module", [arrays, reading, software, writing])
def test_examples_in_docstrings_run(module):
    ran = doctest.testmod(module)
    assert ran.attempted
    assert not ran.failed
