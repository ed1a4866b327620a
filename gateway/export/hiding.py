"""What must not leave: whatever looks like a secret.

Records hold none (docs/reference/record.md), but a note may carry a text from elsewhere: an error of a
library, a name that somebody chose. So what looks like key material or a token is blotted out at this border,
before anything is made of the record.
"""

import re
from typing import Any

HIDDEN = "(hidden)"
SECRET_NAMES = re.compile(
    r"(^|_)(password|passwd|passphrase|secret|private_key|bearer|cookie)(_|$)", re.IGNORECASE
)
"Members whose value is never told."
SECRET_TEXT = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"
    r"|\b(?:Bearer|Basic) +[A-Za-z0-9+/=._-]{8,}",
    re.DOTALL,
)
"Private keys in PEM, JSON Web Tokens, credentials of HTTP."


def clean(value: Any) -> Any:
    """The same without what looks like a secret."""
    match value:
        case dict():
            return {n: HIDDEN if SECRET_NAMES.search(str(n)) else clean(v) for n, v in value.items()}
        case list() | tuple():
            return [clean(each) for each in value]
        case str():
            return SECRET_TEXT.sub(HIDDEN, value)
        case _:
            return value
