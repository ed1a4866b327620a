"""Reviewing: the API by which reviewers read the journal, where a section asks for it."""

from typing import TYPE_CHECKING

from gateway.review.api import ReviewApi
from gateway.review.desk import Desk

if TYPE_CHECKING:
    from gateway.app.parts import Parts

INDEX = "index.db"
"In the data folder: the one that `audit search` keeps there, too."


def review_api(parts: "Parts") -> ReviewApi | None:
    """The API; None where no review section is configured."""
    if parts.settings.review is None:
        return None
    desk = Desk(parts.folder.sub("journal"), parts.folder.path / INDEX)
    return ReviewApi(desk, door=parts.door, clock=parts.now, count=parts.metrics.count)
