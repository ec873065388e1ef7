"""Training a DPENet, from folders of pictures to weights that describe themselves.

    options    the recipes and every choice; no torch
    schedule   the learning rate
    events     what a run reports
    pictures   which pictures there are to learn from and to validate on
    beginning  the network of the first step
    feed       batches: crops gathered from bytes, with rain
    parallel   one process or several
    clock      when a run reports, and when it stops
    state      what a checkpoint holds, and the run's folder
    sheets     the curve and the grid, as PNG
    validation the weights, scored
    loop       the loop
    runs       a run from its start, or from its last checkpoint

That is the order to read them in; each imports only from those above it.
"""
