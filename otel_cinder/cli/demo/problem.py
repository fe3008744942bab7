"""The one exception that ends the demo."""

from __future__ import annotations


class Problem(Exception):  # noqa: N818
    """Why the demo cannot go on, as one sentence for the person who started it.

    ``exit_status`` is 2 when it could not run at all, 1 when it ran and something was amiss.
    """

    def __init__(self, sentence: str, exit_status: int = 2) -> None:
        super().__init__(sentence)
        self.exit_status = exit_status
