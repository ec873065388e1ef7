"""The learning rate of each step: a function of the step, so that there is nothing to store."""

import math

from dpenet_cli.training.options import Recipe, TrainOptions

PAPER_MILESTONES = (0.3, 0.5, 0.8)
"""Where the published schedule multiplies the rate by 0.2: epochs 30, 50 and 80 of 100."""

_COSINE_FLOOR = 0.01
"""Share of the learning rate that the general schedule ends with."""


def learning_rate(options: TrainOptions, step: int, steps: int) -> float:
    """The rate of one step, the first of which is 0: steps by 0.2 (paper), or a warm-up and a cosine (general)."""
    done = step / steps
    if options.recipe is Recipe.PAPER:
        return options.learning_rate * 0.2 ** sum(done >= milestone for milestone in PAPER_MILESTONES)
    rising = min(1.0, (step + 1) / (min(options.warmup, steps // 20) + 1))
    falling = _COSINE_FLOOR + (1.0 - _COSINE_FLOOR) * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
    return options.learning_rate * rising * falling
