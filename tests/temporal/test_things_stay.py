"""What is bright for a frame and is no rain: it keeps its light in every frame, dry and in the rain."""

import numpy as np
import pytest
from things import THINGS, WHITE
from weather import SIZE, images, light_left, panning, psnr, rain, rained_on, with_thing


@pytest.mark.parametrize("name", THINGS)
@pytest.mark.parametrize("wet", [False, True], ids=["dry", "wet"])
def test_light_stays_in_every_frame(name, wet):
    thing = THINGS[name]()
    light = rain(len(thing.clip), thing.clip[0].shape[:2], seed=5) if wet else None
    frames = rained_on(thing.clip, light) if wet else thing.clip
    results = images(frames)
    left = light_left(thing, results, light)
    assert len(left) > len(frames) // 4
    assert min(left) > 0.95, np.round(left, 2)
    assert max(left) < 1.02, np.round(left, 2)
    if wet:
        assert psnr(results, thing.clip) >= psnr(frames, thing.clip)


def test_a_lamp_blinks_on_when_the_camera_pans():
    def paint(mask, number):
        if number % 2 == 0:
            mask[100:106, 150 - 4 * number : 156 - 4 * number] = 255

    thing = with_thing(panning(12, (4, 0)), paint, WHITE)
    light = rain(12, SIZE)
    assert min(light_left(thing, images(thing.clip))) > 0.95
    assert min(light_left(thing, images(rained_on(thing.clip, light)), light)) > 0.95
