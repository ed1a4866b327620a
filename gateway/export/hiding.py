"""What must not leave: whatever looks like a secret.

Records hold none (docs/reference/record.md), but a note may carry a text from elsewhere: an error of a
library, a name that somebody chose. So what looks like key material or a token is blotted out at this border,
before anything is made of the record.
"""

import re
from functools import lru_cache
from typing import Any

HIDDEN = "(hidden)"
SECRET_NAMES = re.compile(
    r"(^|_)(passwords?|passwd|pwd|passphrases?|secrets?|private_?keys?|api_?keys?|tokens?|authorization"
    r"|credentials?|bearer|cookies?)(_|$)"
)
"Members whose value is never told, in small letters and with `_` between words."
WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
"What stands between the words of a name, whatever it is written like."
SECRET_TEXT = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"
    r"|\b(?:(?i:Bearer)|Basic) +[A-Za-z0-9+/=._~-]{8,}"
    r"|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"
    r"|\b(?i:password|passwd|pwd|passphrase|secret|token|api_?key)=[^\s&]+",
    re.DOTALL,
)
"Private keys in PEM, JSON Web Tokens, credentials of HTTP, of an address, of a list of settings."


def clean(value: Any) -> Any:
    """The same without what looks like a secret."""
    match value:
        case dict():
            return {n: HIDDEN if _secret(str(n)) else clean(v) for n, v in value.items()}
        case list() | tuple():
            return [clean(each) for each in value]
        case str():
            return SECRET_TEXT.sub(HIDDEN, value)
        case _:
            return value


@lru_cache(maxsize=4096)
def _secret(name: str) -> bool:
    return SECRET_NAMES.search(WORDS.sub("_", name).lower()) is not None
