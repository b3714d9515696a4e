"""The errors of signed documents.

PolicyError
├── DocumentError          a document does not have the shape of its type
│   └── RuleError          every field has its shape, but together they break a rule of the type
├── TrustError             root or registry may not be trusted
│   ├── ThresholdError     too few keys, persons or organisations signed
│   ├── RollbackError      an older version, or the same version with other content
│   ├── VersionSkipError   a root version was left out
│   ├── ExpiredError       the document's time is up
│   └── WrongFederationError
├── SigningError           a statement or bundle may not be counted at all
│   ├── DuplicateKeyError  one key signed twice
│   ├── WrongDocumentError the statement is about another document
│   ├── WrongPageError     the statement is about another rendered page
│   └── QuorumNotMetError  what is missing, in words
├── RequestError           a disclosure request is not its officer's and node's, or is out of time
├── LifecycleError         an event is not allowed in this state
├── StatusError            a status snapshot may not be accepted
└── CompilationError       the policy engine refused generated rules: a fault, never a decision
"""


class PolicyError(Exception):
    """Root of the tree above."""


class DocumentError(PolicyError):
    """A document does not have the shape of its type; the message names the JSON path."""


class RuleError(DocumentError):
    """Every field has its shape, but together they break a rule of the type."""


class TrustError(PolicyError):
    """A root or registry document may not be trusted."""


class ThresholdError(TrustError):
    """Too few distinct keys, persons or organisations signed."""


class RollbackError(TrustError):
    """An older version, or the same version with different content."""


class VersionSkipError(TrustError):
    """A root must follow its predecessor by exactly one version."""


class ExpiredError(TrustError):
    """The document's time is up."""


class WrongFederationError(TrustError):
    """The document belongs to another federation."""


class SigningError(PolicyError):
    """A statement or bundle may not be counted at all."""


class DuplicateKeyError(SigningError):
    """One key signed twice, or is registered twice."""


class WrongDocumentError(SigningError):
    """A statement is about another document."""


class WrongPageError(SigningError):
    """A statement is about another rendered page."""


class QuorumNotMetError(SigningError):
    """The required officers have not all signed; the message says who is missing."""


class RequestError(PolicyError):
    """A disclosure request is not signed by its officer and node, or is out of time."""


class LifecycleError(PolicyError):
    """An event is not allowed in the policy's present state."""


class StatusError(PolicyError):
    """A status snapshot may not be accepted."""


class CompilationError(PolicyError):
    """The policy engine refused generated rules. A fault of ours, never a decision."""
