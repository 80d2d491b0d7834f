"""Cron schedules as Kubernetes' CronJobs understand them, as one regular expression for the CRD and for us."""

from __future__ import annotations

from typing import Final

_MONTH: Final = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_DAY: Final = "SUN|MON|TUE|WED|THU|FRI|SAT"


def _field(number: str, names: str = "") -> str:
    """A field: values, ranges and steps between commas; * and ? for any."""
    value = f"({number}|{names}|{names.lower()})" if names else f"({number})"
    item = rf"(\*|\?|{value}(-{value})?)(/[1-9][0-9]?)?"
    return f"{item}(,{item})*"


CRON_REGEX: Final = (
    "@(yearly|annually|monthly|weekly|daily|midnight|hourly)"
    f"|{_field('[0-5]?[0-9]')} +{_field('[01]?[0-9]|2[0-3]')} +{_field('0?[1-9]|[12][0-9]|3[01]')}"
    f" +{_field('0?[1-9]|1[0-2]', _MONTH)} +{_field('[0-6]', _DAY)}"
)
"""Five fields, or a nickname. The API server's own parser has the last word on the CronJob."""
