"""What people see holds no secrets: fingerprints, scrubbing by value and by pattern, tails."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ameide_shared.redact import REDACTED, fingerprint, scrub, tail

SECRET = "s3cr3t/P@ss"


def test_fingerprint_is_the_digest_and_nothing_else() -> None:
    assert fingerprint("abc") == f"<redacted sha256:{hashlib.sha256(b'abc').hexdigest()[:8]}>"
    assert fingerprint(b"abc") == fingerprint("abc")


@pytest.mark.parametrize(
    "text",
    [
        f"cannot connect to postgresql://orders:{SECRET}@orders-rw.cnpg.svc:5432/orders?sslmode=require",
        f"jdbc:postgresql://host/db?user=orders&password={SECRET}",
        f"PGPASSWORD={SECRET} psql",
        f"DB_PASSWORD: {SECRET}",
        f'{{"user": "orders", "password": "{SECRET}", "port": 5432}}',
        f"{{'apiKey': '{SECRET}'}}",
        f"flyway.password={SECRET}",
        f"--db-password={SECRET} --verbose",
        f"Authorization: Basic {SECRET}",
        f"authorization: Bearer {SECRET}abcdef",
        f"curl -H 'Authorization: token {SECRET}'",
        "using bearer eyJhbGciOi.abcdefgh.xyz-123",
        "got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl from issuer",
        f"ALTER ROLE orders WITH LOGIN PASSWORD '{SECRET}';",
        f"CREATE USER u IDENTIFIED BY '{SECRET}'",
        f"redis://:{SECRET}@cache:6379",
        f"client_secret={SECRET}",
        f"aws_secret_access_key = {SECRET}",
        f"token={SECRET}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET} cut off here",
    ],
)
def test_what_looks_like_a_credential_goes(text: str) -> None:
    scrubbed = scrub(text)
    assert SECRET not in scrubbed
    assert "c2lnbmF0dXJl" not in scrubbed
    assert "abcdefgh.xyz" not in scrubbed
    assert REDACTED in scrubbed


@pytest.mark.parametrize(
    "text",
    [
        'ERROR: relation "x" already exists (SQLSTATE 42P07)',
        '{"migrationVersion": "7"}',
        "Successfully applied 2 migrations to schema orders, now at version v7",
        "connecting to postgresql://orders-rw.cnpg.svc:5432/orders",
        "token bucket is empty; passing on",
        "the compass=north, keys: 3",
        'FATAL: password authentication failed for user "orders"',
        'secret "orders-db" not found',
        "couldn't find key password in Secret shop/orders-db",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert scrub(text) == text


def test_the_end_of_a_uri_stays_readable() -> None:
    assert scrub("postgresql://u:p@ss@h:5432/db") == f"postgresql://u:{REDACTED}@h:5432/db"


def test_known_values_become_fingerprints_in_every_form() -> None:
    text = f"value {SECRET}, encoded s3cr3t%2FP%40ss, longer {SECRET}-more"
    assert scrub(text, [SECRET, f"{SECRET}-more"]) == (
        f"value {fingerprint(SECRET)}, encoded {fingerprint(SECRET)}, longer {fingerprint(SECRET + '-more')}"
    )


def test_short_known_values_do_not_blot_out_words() -> None:
    assert scrub("an id of an item", ["an", ""]) == "an id of an item"


@given(st.text(max_size=40), st.text(alphabet="abcXYZ019/+=%@:$", min_size=8, max_size=24), st.text(max_size=40))
def test_a_known_value_never_survives(before: str, secret: str, after: str) -> None:
    scrubbed = scrub(f"{before}{secret}{after}", [secret])
    assert secret not in scrubbed.replace(fingerprint(secret), "")


@given(st.text(max_size=200))
def test_scrubbing_twice_is_scrubbing_once(text: str) -> None:
    once = scrub(text)
    assert scrub(once) == once


def test_tail_keeps_the_last_lines_and_the_end() -> None:
    assert tail("one\n\n two \nthree\n", 2) == "two | three"
    assert tail("", 3) == ""
    long = tail("x" * 50 + "END", 1, 10)
    assert long == "…" + "xxxxxxEND"
    assert len(long) == 10
