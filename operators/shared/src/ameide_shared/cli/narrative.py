"""An explanation in words, for terminals."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.text import Text

from ameide_shared.status import parse_time


def narrative(told: Mapping[str, Any], now: datetime) -> Text:
    """The text of `explain`; styles are dropped where the output is no terminal."""
    text = Text()
    title = f"{told['kind']} {told['namespace']}/{told['name']}"
    if told["ready"]:
        text.append(f"{title} is Ready: {told['reason']}\n", "bold green")
    else:
        text.append(f"{title} is not Ready: {told['reason']}\n", "bold red")
    if told["source"] == "plan":
        text.append("This is what a plan made here and now says; the operator's settings may say otherwise.\n", "dim")
    for line in told["advice"]:
        text.append("  ! ", "yellow").append(f"{line}\n")
    _blocker(text, told["blocker"], now)
    if told["chain"]:
        text.append("\nStages not done\n", "bold")
        for stage in told["chain"]:
            text.append(f"  {stage['condition']}: {stage['reason']}{_since(stage['since'], now)}\n")
            text.append(_indented(_new_of(stage["message"], (told["blocker"] or {}).get("message") or ""), 6), "dim")
    if told["children"]:
        text.append("\nChildren not ready\n", "bold")
        for child in told["children"]:
            text.append(f"  {child['kind']} {child['namespace']}/{child['name']}: {child['reason']}\n")
            text.append(_indented(child["cause"], 6) + _indented(child["remedy"], 6))
    if told["events"]:
        text.append("\nRecent Events\n", "bold")
        for event in told["events"]:
            times = f" ({event['count']} times)" if event["count"] > 1 else ""
            style = "yellow" if event["type"] == "Warning" else ""
            head = f"  {_age(event['time'], now):>5}  {event['reason']}"
            text.append(f"{head} {event['object']}{times}: {event['message']}\n", style)
    text.rstrip()
    return text


def _blocker(text: Text, blocker: Mapping[str, Any] | None, now: datetime) -> None:
    if blocker is None:
        return
    text.append("\nFirst in the way\n", "bold")
    text.append(f"  {blocker['reason']}{_since(blocker['since'], now)}\n", "red")
    text.append(_indented(blocker["message"], 6))
    rows = (("object", "object"), ("remedy", "to do"), ("cause", "means"), ("retryAt", "looked at again"))
    for key, label in rows:
        if blocker[key]:
            text.append(f"      {label}: ", "bold").append(f"{_plain(blocker[key])}\n")
    if not blocker["remedy"] and blocker["advice"]:
        text.append("      to do: ", "bold").append(f"{_plain(blocker['advice'])}\n")


def _new_of(message: str, told_above: str) -> str:
    """A stage's message without the blocker's own, which stands above already."""
    if not told_above:
        return message
    return "" if message.startswith(told_above) else message.removesuffix(f": {told_above}")


def _plain(markdown: str) -> str:
    return markdown.replace("`", "")


def _indented(message: str, width: int) -> str:
    return "".join(f"{' ' * width}{line}\n" for line in message.splitlines())


def _since(time: str, now: datetime) -> str:
    return f" (for {_age(time, now)})" if time else ""


def _age(time: str, now: datetime) -> str:
    """How long ago, as kubectl says it: 5s, 12m, 3h, 2d."""
    if not time:
        return "?"
    seconds = max(0, int((now - parse_time(time)).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
