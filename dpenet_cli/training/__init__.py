"""Training a DPENet, from folders of pictures to weights that describe themselves.

The files in reading order; each imports only from those above it:

    options     the recipes and every option; no torch
    schedule    the learning rate
    losses      the published loss, and the general recipe's
    events      what a run reports
    data        which pictures there are to learn from and to validate on
    init        the network of the first step
    loader      batches: crops gathered from bytes, with rain
    parallel    one process or several
    stopping    a time limit, and signals
    throughput  loss and speed since the last report
    checkpoint  all that is needed to go on
    run_folder  the files of a run
    plots       the curve and the grid, as PNG
    validation  the weights, scored
    trainer     the loop
    run         a run from its start, or from its last checkpoint
"""
