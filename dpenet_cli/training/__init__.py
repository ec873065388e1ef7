"""Training a DPENet, from folders of pictures to weights that describe themselves.

The files in reading order; each imports only from those above it:

    options       the recipes and every option; no torch
    checkpoint    all that is needed to go on
    schedule      when the run ends, its crops, its learning rate
    losses        the published loss, and the general recipe's
    events        what a run reports
    pack          decoded pictures in one file
    sources       the files of folders, decoded; bad ones
    reading       all that a run reads before its first step
    data          which pictures there are to learn from and to validate on
    init          the network of the first step
    pixels        crops gathered from one row of bytes
    loader        batches: crops, with structure and rain
    prefetch      the next batch, beside this one
    parallel      one process or several
    shared_data   the data of a run, for all of its processes
    fused_blocks  DDRBs on a processor with bf16
    step          forward, loss, backward, Adam; kernel by kernel or as a CUDA graph
    setup         what steps are taken with on this machine
    outlook       how long it will take, before it starts
    recovery      back to the last good weights
    stopping      a time limit, and signals
    throughput    loss and speed since the last report
    run_folder    the files of a run
    plots         the curve and the grid, as PNG
    table         the log, as CSV
    validation    the weights, scored on rain and dry
    products      what a run makes for its user
    trainer       the loop
    helper        a process that shares the loop's steps on a CPU
    run           a run from its start, or from its last checkpoint
"""
