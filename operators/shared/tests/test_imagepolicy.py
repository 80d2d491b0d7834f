"""Image references and the rules over them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ameide_shared.imagepolicy import ImageRef, ImageReferenceError, image_problems, matches, parse_image

DIGEST = "sha256:" + "0a" * 32


@dataclass(frozen=True)
class Rules:
    allowed: tuple[str, ...] = ()
    require_digest: bool = False
    refuse_latest: bool = False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nginx", ImageRef("docker.io", "library/nginx")),
        ("nginx:1.27", ImageRef("docker.io", "library/nginx", "1.27")),
        ("bitnami/redis:7", ImageRef("docker.io", "bitnami/redis", "7")),
        ("docker.io/nginx", ImageRef("docker.io", "library/nginx")),
        ("index.docker.io/library/nginx", ImageRef("docker.io", "library/nginx")),
        ("ghcr.io/ameide/orders-domain:1.12.3", ImageRef("ghcr.io", "ameide/orders-domain", "1.12.3")),
        ("GHCR.io/ameide/orders", ImageRef("ghcr.io", "ameide/orders")),
        ("ghcr.io/ameide/www_ameide_platform:3.0.1", ImageRef("ghcr.io", "ameide/www_ameide_platform", "3.0.1")),
        (f"ghcr.io/a/b:1@{DIGEST}", ImageRef("ghcr.io", "a/b", "1", DIGEST)),
        (f"a@{DIGEST}", ImageRef("docker.io", "library/a", "", DIGEST)),
        ("localhost/app", ImageRef("localhost", "app")),
        ("localhost:5000/app:dev", ImageRef("localhost:5000", "app", "dev")),
        ("registry:5000/a/b/c", ImageRef("registry:5000", "a/b/c")),
        ("[::1]:5000/app", ImageRef("[::1]:5000", "app")),
    ],
)
def test_parses(text: str, expected: ImageRef) -> None:
    assert parse_image(text) == expected
    assert parse_image(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a part of a repository's name"),
        ("ghcr.io/Ameide/orders", "'Ameide'"),
        ("ghcr.io/ameide//orders", "''"),
        ("ghcr.io/ameide/orders:", "tag ''"),
        ("ghcr.io/ameide/orders:a b", "tag 'a b'"),
        ("ghcr.io/ameide/orders@sha256:123", "digest 'sha256:123'"),
        ("https://ghcr.io/ameide/orders", "host name"),
        ("ghcr.io/ameide/orders\n", "orders\\n"),
        ("ghcr.io/" + "a" * 256, "255"),
    ],
)
def test_refuses_what_is_no_reference(text: str, words: str) -> None:
    with pytest.raises(ImageReferenceError) as caught:
        parse_image(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "image", "expected"),
    [
        ("ghcr.io/ameide/*", "ghcr.io/ameide/orders:1", True),
        ("ghcr.io/ameide/*", "ghcr.io/ameide/team/orders:1", False),
        ("ghcr.io/ameide/**", "ghcr.io/ameide/team/orders:1", True),
        ("ghcr.io/ameide/*-domain", "ghcr.io/ameide/orders-domain", True),
        ("ghcr.io/ameide/*-domain", "ghcr.io/ameide/orders-process", False),
        ("ghcr.io", "ghcr.io/ameide/orders", True),
        ("ghcr.io/", "ghcr.io/ameide/orders", True),
        ("ghcr.io", "ghcr.io.example.org/ameide/orders", False),
        ("ghcr.io/ameide", "ghcr.io/ameide/orders", True),
        ("ghcr.io/ameide", "ghcr.io/ameide-evil/orders", False),
        ("ghcr.io/ameide/orders", "ghcr.io/ameide/orders:2", True),
        ("docker.io/library/*", "nginx", True),
        ("nginx", "nginx", False),
        ("*/ameide/*", "ghcr.io/ameide/x", True),
        ("**/orders", "registry:5000/a/b/orders", True),
    ],
)
def test_patterns_match_whole_components(pattern: str, image: str, expected: bool) -> None:
    assert matches(pattern, parse_image(image)) is expected


def test_no_rules_no_problems() -> None:
    assert image_problems("nginx", Rules()) == []


def test_every_broken_rule_is_told_with_its_remedy() -> None:
    rules = Rules(allowed=("ghcr.io/ameide/*",), require_digest=True, refuse_latest=True)
    problems = image_problems("nginx:latest", rules, field="spec.db.migrationJobImage")
    assert [problem.message for problem in problems] == [
        "spec.db.migrationJobImage: docker.io/library/nginx is not among the allowed images (ghcr.io/ameide/*)",
        "spec.db.migrationJobImage: nginx:latest is not pinned by a digest, which the operator's settings require",
        "spec.db.migrationJobImage: nginx:latest means the tag latest, which the operator's settings refuse",
    ]
    assert {problem.field for problem in problems} == {"spec.db.migrationJobImage"}
    assert "images.allowed" in problems[0].remedy
    assert problems[1].remedy == "write docker.io/library/nginx:latest@sha256:…"
    assert "version" in problems[2].remedy


@pytest.mark.parametrize(
    ("image", "refused"),
    [("a", True), ("a:latest", True), ("a:1", False), (f"a@{DIGEST}", False), (f"a:latest@{DIGEST}", False)],
)
def test_latest_is_also_saying_nothing(image: str, refused: bool) -> None:
    assert bool(image_problems(image, Rules(refuse_latest=True))) is refused


def test_what_is_no_reference_is_a_problem_too() -> None:
    [problem] = image_problems("UPPER//x", Rules())
    assert problem.message.startswith("spec.image: image 'UPPER//x'")
