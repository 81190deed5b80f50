"""Draw the mails of the documentation in Chromium: ``python -m docs.alerts_pictures [docs/alerts]``.

Each is built as a mail, read back as a mail program reads it, and drawn from that.
"""

from __future__ import annotations

import sys
import tempfile
from email import message_from_bytes, policy
from pathlib import Path
from typing import NamedTuple

from keel.alerts.channels.email import build
from tests.support.alerts.samples import SAMPLES
from tests.support.reports.browser import Theme, chromium, screenshot

FOLDER = Path(__file__).parent / "alerts"
WIDE, PHONE = 700, 390


class Picture(NamedTuple):
    """A mail, and how it is looked at."""

    sample: str
    theme: Theme = "light"
    width: int = WIDE

    @property
    def name(self) -> str:
        """Of its file, without the ending."""
        kinds = ("dark" if self.theme == "dark" else "", "phone" if self.width == PHONE else "")
        return "-".join(filter(None, (self.sample, *kinds)))


PICTURES = (
    *(Picture(name) for name in SAMPLES),
    Picture("incident", "dark"),
    Picture("digest", "dark"),
    Picture("incident", width=PHONE),
    Picture("failure", "dark", PHONE),
)


def main(folder: Path = FOLDER, only: tuple[str, ...] = ()) -> None:
    """Draw all of them, or those of some samples."""
    with chromium() as browser, tempfile.TemporaryDirectory() as scratch:
        for picture in PICTURES:
            if not only or picture.sample in only:
                page = write_page(picture.sample, Path(scratch))
                target = folder / f"{picture.name}.png"
                screenshot(page, target, theme=picture.theme, width=picture.width, browser=browser)


def write_page(sample: str, folder: Path) -> Path:
    """Write the HTML part of a mail with its picture beside it, as a mail program shows it."""
    message = SAMPLES[sample]()
    made = build(message, sender="keel@example.com", to="ml-oncall@example.com", now=message.at)
    mail = message_from_bytes(bytes(made), policy=policy.default)
    html = mail.get_body(("html",))
    assert html is not None
    text = html.get_content()
    for part in mail.walk():
        if part.get_content_type() == "image/png":
            name = f"{sample}.png"
            (folder / name).write_bytes(part.get_content())
            text = text.replace(f"cid:{part['Content-ID'].strip('<>')}", name)
    page = folder / f"{sample}.html"
    page.write_text(text, encoding="utf-8")
    return page


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER, tuple(sys.argv[2:]))
