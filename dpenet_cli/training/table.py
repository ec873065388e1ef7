"""The log of a run as a table: one row a step that something was reported of, for spreadsheets and plots."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

_COLUMNS = {
    "progress": ("loss", "learning_rate", "crops_per_second", "seconds"),
    "evaluated": ("psnr", "ssim", "input_psnr", "dry_psnr", "structure_psnr", "blend"),
}
"""What is taken of each kind of event; `seconds` are those of training."""


def as_csv(events: Iterable[Mapping[str, Any]]) -> str:
    """The table.

    Args:
        events: as the log has them, in order.
    """
    rows: dict[int, dict[str, Any]] = {}
    for event in events:
        for name in _COLUMNS.get(event.get("event", ""), ()):
            rows.setdefault(event["step"], {"step": event["step"]})[name] = event.get(name)
    text = io.StringIO()
    fields = ["step", *(name for names in _COLUMNS.values() for name in names)]
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[step] for step in sorted(rows))
    return text.getvalue()
