"""Why an act of a person cannot be done, whatever policy says about it."""


class Impossible(Exception):  # noqa: N818 # the answer to a person, not a fault
    """A stable code (the same in answers and records), the HTTP status, and a sentence."""

    def __init__(self, code: str, status: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status
        self.detail = detail
