"""Many files: which they are, where their results go, and what became of each.

The files in reading order; each imports only from those above it:

    discovery  the files that an argument or a folder stands for
    shards     which of the files are this machine's
    naming     what is looked for, and how results are named
    planning   inputs in, one source and one target each out
    key_table  equal names among very many
    manifests  lists of inputs, as streams
    listed     a list's jobs, as a stream
    record     what made each result
    outcomes   what became of each input, and how it is told
    decisions  which outputs are still to be written, and why others are not
    reports    rows of what became of each input, in a file that outlives the run
    refusals   whether a picture's result could be written
    pictures   many pictures through one engine
    videos     many videos through one engine
    ray_rows        what travels between the machines of a cluster
    ray_worker      what a worker of a cluster does with its rows
    ray_connection  a cluster that is joined or started, and what its machines must have in common
    ray_messages    what many workers say, told to one person
    ray_pool        a pool of workers on a cluster, and the rows on their way
    ray_cluster     many pictures or videos on many machines
"""
