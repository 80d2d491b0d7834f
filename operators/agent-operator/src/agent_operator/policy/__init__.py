"""The security policy of Agents: a document, and the judgement of Agents by it. Pure: no clock, no client, no files."""

from agent_operator.policy.credentials import fill
from agent_operator.policy.evaluate import evaluate
from agent_operator.policy.loading import Policy, PolicyError, PolicyProblem, parse
from agent_operator.policy.subject import (
    LABEL_SKU,
    SecretUse,
    Subject,
    ToolKey,
    ToolRequest,
    as_data,
    from_data,
    subject_of,
    tool_requests,
    undeclared_tools,
)
from agent_operator.policy.verdict import (
    GrantedModel,
    GrantedTool,
    NeededCredential,
    SecretValue,
    Verdict,
    Violation,
)

__all__ = [
    "LABEL_SKU",
    "GrantedModel",
    "GrantedTool",
    "NeededCredential",
    "Policy",
    "PolicyError",
    "PolicyProblem",
    "SecretUse",
    "SecretValue",
    "Subject",
    "ToolKey",
    "ToolRequest",
    "Verdict",
    "Violation",
    "as_data",
    "evaluate",
    "fill",
    "from_data",
    "parse",
    "subject_of",
    "tool_requests",
    "undeclared_tools",
]
