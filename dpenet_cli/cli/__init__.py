"""The command line: one file a subcommand, and what they share. Nothing here imports torch until it must.

The files in reading order; each imports only from those above it:

    console         progress, notices, failures, summary, JSON lines, exit codes
    shared_options  options that several subcommands have
    tables          scores as tables
    timing          what `dpenet benchmark --speed` does
    pipe            one picture through a pipe
    derain          `dpenet derain`
    video_batch     what `dpenet video` does with its inputs
    video           `dpenet video`
    benchmark       `dpenet benchmark`
    train           `dpenet train`
    export          `dpenet export`
    weights         `dpenet weights`
    doctor          `dpenet doctor`
    guide           `dpenet guide`
    app             the Typer app
"""
