"""The command line: one file a subcommand, and what they share. Nothing here imports torch until it must.

The files in reading order; each imports only from those above it:

    console         exit codes, errors, notes, lines for programs
    words           words that are no command; examples at the end of each help
    json_lines      what each line for programs holds
    batch_report    how a batch goes: progress, notices, summary, JSON lines
    shared_options  options that several subcommands have
    sources         what a command works on: named, listed or failed before; all or a part
    batch_run       what derain and video have in common
    cluster         the same on many machines: --ray
    tables          scores as tables
    timing          what `dpenet benchmark --speed` does
    preview         one picture or frame to look at before a run
    pipe            one picture through a pipe
    video_pipe      a video through a pipe
    derain          `dpenet derain`
    video           `dpenet video`
    scoring         what `dpenet benchmark` does with sets and methods
    benchmark       `dpenet benchmark`
    train_usage     what the options of `dpenet train` may be together
    train_display   a training run in words
    train           `dpenet train`
    export          `dpenet export`
    fit_scales      `dpenet weights fit-scales`
    weights         `dpenet weights`
    report          `dpenet report`
    doctor          `dpenet doctor`
    guide           `dpenet guide`
    app             the Typer app
"""
