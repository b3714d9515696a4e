"""The node's own errors.

NodeError            the node cannot do what it was told; the message says why and what to do
  NodeConfigError    the configuration file is wrong, with its place
  RetryLaterError    a message cannot have its effect yet: something that must come first is not here
"""

from __future__ import annotations

from datetime import timedelta

from protos.wire.terminal import TerminalError


class NodeError(TerminalError):
    """The node cannot do what it was told."""


class NodeConfigError(NodeError):
    """The configuration file is wrong."""


class RetryLaterError(NodeError):
    """A message cannot have its effect yet; it is tried again later, and refused after `patience`."""

    def __init__(self, message: str, patience: timedelta = timedelta(days=1)) -> None:
        super().__init__(message)
        self.patience = patience
