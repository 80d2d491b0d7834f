"""Tokens and API keys stay where they are: in files, and in no log, event, status, metric or object."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest
from processes import Around, Processes

from ameide_dev.client import KubeClient
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.testing.subject import StartOperator


@pytest.mark.parametrize("refused", [False, True], ids=["accepted", "refused"])
def test_credentials_appear_nowhere(
    kube: KubeClient,
    make_namespace: NamespaceMaker,
    around: Around,
    start_operator: StartOperator,
    tmp_path: Path,
    refused: bool,
) -> None:
    """A token that is accepted or refused, and the API key of a second connection, which does not speak TLS."""
    processes = Processes(kube, make_namespace("own-secret"), around)
    processes.publish()
    token_file, key_file = tmp_path / "token", tmp_path / "api-key"
    token = "wrong-" + secrets.token_hex(16) if refused else around.token_file.read_text()
    key = "key-" + secrets.token_hex(16)
    token_file.write_text(token)
    key_file.write_text(key)
    address = around.temporal.address
    connections = {"default": {"address": address}, "keyed": {"address": address, "apiKeyFile": str(key_file)}}
    operator = start_operator(
        "own-secret",
        **{
            **around.settings(),
            "AMEIDE_TRANSFORMATION__TOKEN_FILE": str(token_file),
            "AMEIDE_TEMPORAL__CONNECTIONS": json.dumps(connections),
            "AMEIDE_LOG_LEVEL": "debug",
        },
    )
    processes.create(replicas=0)
    processes.create("keyed", replicas=0, temporal={"connection": "keyed"})
    if refused:
        processes.until("DefinitionResolved", "False", reason="TransformationRefused", timeout=30)
    else:
        processes.ready(timeout=60)
        processes.until("TemporalReady", "False", reason="TemporalUnreachable", name="keyed", timeout=60)
    places = {"log": operator.logs, "metrics": operator.metrics()}
    where = processes.namespace
    for api_version, kind in (("ameide.io/v1", "Process"), ("v1", "Event"), ("v1", "ConfigMap"), ("v1", "Pod")):
        places[kind] = json.dumps(kube.list(api_version, kind, where))
    for api_version, kind in (("apps/v1", "Deployment"), ("apps/v1", "ControllerRevision")):
        places[kind] = json.dumps(kube.list(api_version, kind, where))
    assert places["log"]
    found = [place for place, text in places.items() if token in text or key in text]
    assert found == []
