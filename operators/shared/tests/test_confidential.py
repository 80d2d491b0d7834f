"""What must not be told of a resource: the values of its own Secrets, from the first look on, and nobody else's."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from ameide_shared import logging as ameide_logging
from ameide_shared.confidential import Confidential, at_hand, cleaned, keep, quiet, quieted, take_up
from ameide_shared.redact import fingerprint

PASSWORD = 'pa"ss/wo\\rd of ours'
OTHERS = "word-of-others"


@pytest.fixture(autouse=True)
def nothing_at_hand() -> Iterator[None]:
    take_up(None)
    yield
    take_up(None)


def secret(name: str = "orders-db", **values: str) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"kind": "Secret", "metadata": {"namespace": "shop", "name": name}, "data": data}


def told(confidential: Confidential, text: str) -> str:
    return confidential.clean({"conditions": [{"message": text}]})["conditions"][0]["message"]


def test_values_are_replaced_wherever_they_stand_and_what_is_clean_stays_the_same_object() -> None:
    confidential = Confidential()
    confidential.learn(secret(password=PASSWORD))
    text = f"as {PASSWORD}, in a URI {quote(PASSWORD, safe='')}, end"
    mark = fingerprint(PASSWORD)
    assert told(confidential, text) == f"as {mark}, in a URI {mark}, end"
    status = {"conditions": [{"type": "Ready", "message": OTHERS}], "ready": True, "replicas": 3, "nothing": None}
    assert confidential.clean(status) is status


def test_values_are_those_of_some_keys_where_the_kind_says_so() -> None:
    confidential = Confidential()
    confidential.learn(secret(username="clerk", password=PASSWORD), {"password"})
    assert told(confidential, f"clerk {PASSWORD}") == f"clerk {fingerprint(PASSWORD)}"
    assert set(confidential) == {PASSWORD}


def test_end_of_line_is_no_part_of_a_value_and_short_ones_would_blot_out_words() -> None:
    confidential = Confidential()
    confidential.learn(secret(password="long-enough\n", port="543", empty="", blob="x" * 10_000))
    assert set(confidential) == {"long-enough"}


def test_value_that_was_replaced_or_whose_secret_is_gone_is_remembered() -> None:
    confidential = Confidential()
    for values in ({"password": "the-first-one"}, {"password": "the-second-one"}):
        confidential.begin()
        confidential.learn(secret(**values))
    confidential.begin()
    confidential.begin()
    for old in ("the-first-one", "the-second-one"):
        assert told(confidential, old) == fingerprint(old)


def test_values_that_are_there_are_never_forgotten_however_many_came_and_went() -> None:
    confidential = Confidential()
    kept = secret(password=PASSWORD)
    for number in range(2000):
        confidential.begin()
        confidential.learn(kept)
        confidential.learn(secret("another", password=f"number-{number:05}"))
    assert told(confidential, PASSWORD) == fingerprint(PASSWORD)
    assert told(confidential, "number-01998") == fingerprint("number-01998")
    assert told(confidential, "number-00000") == "number-00000"
    assert len(set(confidential)) < 300


def test_task_tells_nothing_of_the_resource_that_it_works_on() -> None:
    confidential = Confidential()
    keep("is lost: nothing is at hand")
    assert cleaned(f"{PASSWORD}") == PASSWORD
    take_up(confidential)
    keep(PASSWORD)
    assert cleaned([f"so {PASSWORD}", OTHERS]) == [f"so {fingerprint(PASSWORD)}", OTHERS]
    spoken = {"kind": "Pod", "metadata": {"name": PASSWORD}, "status": {"message": PASSWORD}}
    assert quiet(spoken) == {**spoken, "status": {"message": fingerprint(PASSWORD)}}
    assert quiet({"kind": "ConfigMap"}) == {"kind": "ConfigMap"}


def test_objects_that_were_read_are_quiet() -> None:
    pod = {"kind": "Pod", "metadata": {"name": "orders"}, "status": {"message": f"I know {PASSWORD} and {OTHERS}"}}
    mine = secret(password=PASSWORD)
    clean, same = quieted([pod, mine], None)
    assert clean["status"]["message"] == f"I know {fingerprint(PASSWORD)} and {OTHERS}"
    assert same is mine


def test_logs_show_no_value_of_the_resource_at_hand_and_it_is_put_down_with_it() -> None:
    root = logging.getLogger()
    handlers, level, buffer = root.handlers[:], root.level, io.StringIO()
    ameide_logging.configure("info", "json", buffer)
    try:
        log = logging.getLogger("ameide_shared.test")
        with ameide_logging.bind(name="orders"):
            confidential = Confidential()
            confidential.learn(secret(password=PASSWORD))
            take_up(confidential)
            with ameide_logging.bind(more="detail"):
                log.info("it said %s", PASSWORD, extra={"detail": [PASSWORD]})
                assert PASSWORD in ameide_logging.known_secrets()
            assert at_hand() is confidential
        log.info("%s", OTHERS)
    finally:
        root.handlers[:], root.level = handlers, level
        logging.captureWarnings(False)
    assert at_hand() is None
    assert PASSWORD not in ameide_logging.known_secrets()
    first, second = (json.loads(line) for line in buffer.getvalue().splitlines())
    assert first["message"] == f"it said {fingerprint(PASSWORD)}"
    assert first["detail"] == [fingerprint(PASSWORD)]
    assert second["message"] == OTHERS
