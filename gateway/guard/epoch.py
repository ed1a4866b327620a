"""The epoch: a number that grows whenever facts or stages change, so that leave given before is told apart.

A permit of an act remembers the epoch in which it was asked for, and is worth nothing in another. A write
that waited in a queue while its window closed, the glass was mended, the mode changed or its asset was set to
`enforce` is not sent; whoever wants it still asks again, and is decided by what holds now.
"""


class Epoch:
    """One gateway's; who changes what policy or the guard is told calls `grow`, before anything else runs."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def grow(self) -> None:
        """Every permit of an act that was asked for until now is worth nothing."""
        self.value += 1
