"""What of a record may be kept by commitment, in groups that a privacy officer can name.

`gateway/audit/places.py` says which members of a record each of them is.
"""

from enum import StrEnum


class Sensitive(StrEnum):
    """The groups."""

    PEOPLE = "people"
    "Who people are: on whose behalf, persons' subjects and certificates, whom an act concerns, who approved."
    SUBJECTS = "subjects"
    "Every subject and its certificate: people, and devices and services too."
    ADDRESSES = "addresses"
    "Where a request came from."
    VALUES = "values"
    "Values written and the ones before, what was read back of them, and the digests of values read."
    TEXTS = "texts"
    "Messages, notes and what people wrote. Always with any other group: a text may repeat what it hides."
