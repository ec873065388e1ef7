"""Longer texts than README's: one Markdown page a subject, `NAME.md` in this folder. `dpenet guide NAME` shows one.

A page begins with its title, then one line that says what it tells; the list of pages shows that line.

The files in reading order; each imports only from those above it:

    pages  finds the pages and reads them
"""
