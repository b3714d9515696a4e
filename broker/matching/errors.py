"""What can go wrong in a matching run.

::

    MatchingError
    ├── MatchInputError       rows or a specification that do not fit together
    ├── UnknownSubjectError   a change or withdrawal names a handle that is not held
    ├── PairLimitError        a threshold so low that the candidates exceed the configured limit
    ├── RunCancelledError     somebody asked the run to stop
    ├── CheckpointError       a run directory that belongs to other data, or is damaged
    └── EngineError           the compute cluster refused, or lost, the work

Messages name agencies, projections and counts, never handles, encodings or tokens.
"""


class MatchingError(Exception):
    """Base of every error that a matching run raises on purpose."""


class MatchInputError(MatchingError):
    """Rows or a specification that do not fit together."""


class UnknownSubjectError(MatchingError):
    """A change or a withdrawal names a subject that the state does not hold."""

    def __init__(self, agency: str, count: int) -> None:
        super().__init__(
            f"{count} of the subjects named for agency {agency!r} are not held here; "
            "add them first, or ask the agency to submit its rows again"
        )
        self.agency = agency
        self.count = count


class PairLimitError(MatchingError):
    """A threshold that yields more candidate pairs than the configured limit.

    :ivar found: pairs counted when the run stopped (a lower bound on all).
    :ivar estimated: about how many there would be if the run went on.
    :ivar limit: the configured limit.
    """

    def __init__(self, found: int, estimated: int, limit: int, source: str) -> None:
        super().__init__(
            f"{source}: this threshold yields {found:,} candidate pairs so far (about {estimated:,} in all), "
            f"over the limit of {limit:,}; raise the threshold, or the limit max_candidate_pairs"
        )
        self.found = found
        self.estimated = estimated
        self.limit = limit
        self.source = source

    def __reduce__(self) -> tuple[type["PairLimitError"], tuple[int, int, int, str]]:
        # Exceptions cross process borders on a cluster; the default would call __init__ with the message.
        return type(self), (self.found, self.estimated, self.limit, self.source)


class RunCancelledError(MatchingError):
    """The run was asked to stop; what its run directory holds is kept for a later resume."""


class CheckpointError(MatchingError):
    """A run directory that belongs to another specification or other rows, or is damaged."""


class EngineError(MatchingError):
    """The compute engine could not be reached, or gave up on a block."""
