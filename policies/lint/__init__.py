"""What an information-governance officer would be embarrassed by later.

Errors should stop a policy from being signed, warnings should be read. A finding has a permanent code for
machines and a sentence for people. Nothing here is legal advice: it finds what is missing or contradictory,
not what is lawful.

    paperwork   impact assessment, advice, times, lawful basis of each party
    clauses     what can be seen of one clause by itself
    reach       what the clauses do to each other, tried out with the reference evaluator
    duties      obligations, limits, alarms
"""

from datetime import datetime

from policies.lint.clauses import clause_findings
from policies.lint.duties import duty_findings
from policies.lint.findings import Code, Finding, Severity
from policies.lint.paperwork import paperwork_findings
from policies.lint.reach import reach_findings
from policies.sharing import SharingPolicy

__all__ = ["Code", "Finding", "Severity", "lint"]


def lint(policy: SharingPolicy, now: datetime) -> tuple[Finding, ...]:
    """Every finding about `policy` at `now`, errors first."""
    found = [
        *paperwork_findings(policy, now),
        *clause_findings(policy),
        *reach_findings(policy),
        *duty_findings(policy),
    ]
    return tuple(sorted(found, key=lambda item: item.severity is not Severity.ERROR))
