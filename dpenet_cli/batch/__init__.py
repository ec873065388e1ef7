"""Many files: which they are, where their results go, and what became of each.

The files in reading order; each imports only from those above it:

    shards     which of the files are this machine's
    naming     what is looked for, and how results are named
    record     what made each result
    sieve      what is no input though it was found
    discovery  the files that an argument or a folder stands for
    plans      a plan, and what makes it safe
    passed_over  what is named among a command's files and is none of them
    planning   inputs in, one source and one target each out
    key_table  equal names among very many
    manifests  lists of inputs, as streams
    listed     a list's jobs, as a stream
    outcomes   what became of each input, and how it is told
    source_sizes  sizes of inputs that are not worked on
    decisions  which outputs are still to be written, and why others are not
    reports    rows of what became of each input, in a file that outlives the run
    refusals   whether a picture's result could be written
    picture_files  the two ends of a picture's way
    pictures   many pictures through one engine
    videos     many videos through one engine
    previews   one picture, or one frame, before and after, to look at before a run
    gallery    before and after of a whole run on a page
    ray_rows        what travels between the machines of a cluster
    ray_needs       what every machine of a cluster must have, and what one lacks
    ray_ledger      what each worker has in hand, and which row took its worker with it
    ray_messages    what workers say, told to one person
    ray_worker      what a worker of a cluster does with its rows
    ray_connection  a cluster that is joined or started, and looked at
    ray_stream      hands of rows through Ray Data, and what came of each hand back
    ray_process     Ray in a process of its own, beside the command
    ray_flow        a run on a cluster: rows out, outcomes back
    ray_cluster     many pictures or videos on many machines
"""
