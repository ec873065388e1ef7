from dpenet_cli import *  # noqa: F403 - its `__all__` is the list
from dpenet_cli import errors as errors
