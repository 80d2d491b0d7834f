"""What the references read off the code: metrics as they are served, reasons with the kinds that give them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ameide_shared.metrics import Metrics
from ameide_shared.reasons import Reason
from docs import links, metrics, reasons
from docs.generate import cell, table

ALERTS = links.ROOT / "charts" / "ameide-operators" / "templates" / "_alerts.tpl"


def test_metrics_are_those_that_are_served() -> None:
    own = Metrics("domain")
    own.reconciled("success", 0.1)
    own.reconciled("error", 0.1)
    own.request("get", "domains", "200", 0.01)
    own.audited("Domain", "agreed")
    own.audit_found("Domain", "missed_deletion")
    own.watch_event("Domain")
    own.event("created")
    own.built("1.4.0", "3.13.5")
    own.conditions(1, "Domain", [{"type": "Ready", "status": "True"}])
    told = {family.name: family for family in metrics.families()[0]}
    served = {}
    for family in text_string_to_metric_families(own.render().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        served[name] = (family.type, family.documentation, labels)
    assert {name: (one.type, one.help, set(one.labels)) for name, one in told.items()} == served


def test_alerts_stand_on_metrics_that_the_page_knows() -> None:
    known = {family.name for group in metrics.families() for family in group}
    known |= {f"{name}_{part}" for name in known for part in ("bucket", "sum", "count")}
    used = set(re.findall(r"\b([a-z_]+)\{", ALERTS.read_text()))
    assert len(used) >= 8
    assert used <= known


def test_a_label_that_nobody_explained_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "LABELS", {"code": "…"})
    with pytest.raises(ValueError, match=r"LABELS and the metrics differ in .*'condition'"):
        metrics.page(table)


def test_reasons_have_the_kinds_that_give_them(tmp_path: Path) -> None:
    for name, text in {
        "shared/ameide_shared/common.py": "".join(
            f"Reason.{one}\n" for one in Reason if one is not Reason.ProtoMismatch
        ),
        "shared/ameide_shared/parts/__init__.py": "from ameide_shared.parts.inner import x\n",
        "shared/ameide_shared/parts/inner.py": "stage(Reason.ProtoMismatch)\n",
        "shared/ameide_shared/nobodys.py": "stage(Reason.ProtoMismatch)\n",
        "domain/plan.py": "from ameide_shared import common, parts\n",
        "process/plan.py": "from ameide_shared.common import x\nno_reason(Reason.ProtoMismatched)\n",
        "agent/plan.py": 'from ameide_shared import common\nclass Failure(Enum):\n    PROTO = "ProtoMismatch"\n',
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    sources = {kind: tmp_path / kind.lower() for kind in ("Domain", "Process", "Agent")}
    text = reasons.page(table, cell, sources, tmp_path / "shared")
    assert re.search(r"^\| `ProtoMismatch` \| .+ \| .+ \| Domain, Agent \|$", text, re.MULTILINE)
    assert re.search(r"^\| `InvalidSpec` \| .+ \| .+ \| all \|$", text, re.MULTILINE)
    with pytest.raises(ValueError, match="no operator gives the reasons ProtoMismatch"):
        reasons.page(table, cell, {"Process": sources["Process"]}, tmp_path / "shared")
