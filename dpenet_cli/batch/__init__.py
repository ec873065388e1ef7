"""Many files: which they are, where their results go, and what became of each.

The files in reading order; each imports only from those above it:

    discovery  the files that an argument or a folder stands for
    planning   inputs in, one source and one target each out
    outcomes   what became of each input, and how it is told
    pictures   many pictures through one engine
    videos     many videos through one engine
"""
