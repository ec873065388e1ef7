"""The network and its files.

The files in reading order; each imports only from those above it:

    model          DPENet: R2Net, DRNet, and the blocks that they are made of
    pretrained     the weights that the paper's authors published, and how they are fetched
    weights_files  where weights lie, by their names
    state_dicts    weights files as tensors: the one reader, which trusts nothing
    checkpoints    weights on disk: the network that a file describes, the one writer
"""
