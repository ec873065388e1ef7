"""A real browser, where there is one, to open the pages in that dpenet writes."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)

needs_a_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine to open the page in")


def browse(path: Path, profile: Path, *arguments: str) -> str:
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--disable-component-update", "--disable-sync", "--no-first-run", f"--user-data-dir={profile}"]
    command += ["--virtual-time-budget=5000", *arguments, path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def drive(html: str, script: str, folder: Path) -> list[str]:
    """What a script says of a loaded page: it fills the list `said`."""
    driver = f'<script>window.addEventListener("load", async () => {{ const said = [];\n{script}\n'
    driver += 'document.title = "drove: " + said.join(" | "); });</script></body>'
    page = folder / "driven.html"
    page.write_text(html.replace("</body>", driver), encoding="utf-8")
    title = re.search(r"<title>(.*?)</title>", browse(page, folder / "profile", "--dump-dom"), re.DOTALL)[1]
    assert title.startswith("drove: "), title
    return title.removeprefix("drove: ").split(" | ")
