"""Which images may run: references are parsed, then judged by the operator's image settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Protocol

DEFAULT_REGISTRY: Final = "docker.io"
_HOST: Final = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
_COMPONENT: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


class ImageReferenceError(ValueError):
    """Text that is no image reference; the message says which part is wrong."""


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image reference, normalised as container runtimes do: `nginx` is `docker.io/library/nginx`.

    `tag` and `digest` are empty where the reference has none.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """`registry/repository`, which policies match."""
        return f"{self.registry}/{self.repository}"

    @property
    def reference(self) -> str:
        """What a registry is asked for: the digest if there is one, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    @property
    def floating(self) -> bool:
        """Whether it means `latest`, in so many words or by saying nothing."""
        return not self.digest and self.tag in ("", "latest")

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_image(text: str) -> ImageRef:
    """Parse an image reference. Raises ImageReferenceError; the error names the part that is wrong."""
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ImageReferenceError(f"image {text!r}: digest {digest!r} is not sha256: and 64 hex digits")
    head, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise ImageReferenceError(
            f"image {text!r}: tag {tag!r} is not 1 to 128 letters, digits, dots, dashes and underscores"
        )
    path = f"{head}{slash}{last}"
    first, slash, remainder = path.partition("/")
    # The first component is a registry only if it looks like a host: it has a dot or a port, or is localhost.
    if slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        registry, repository = first.lower(), remainder
    else:
        registry, repository = DEFAULT_REGISTRY, path
    if not _HOST.fullmatch(registry):
        raise ImageReferenceError(f"image {text!r}: {registry!r} is not a registry's host name")
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    for component in repository.split("/"):
        if not _COMPONENT.fullmatch(component):
            raise ImageReferenceError(
                f"image {text!r}: {component!r} is not a part of a repository's name (lower case letters and digits, "
                "with dots, dashes and underscores between them)"
            )
    if len(repository) > 255:
        raise ImageReferenceError(f"image {text!r}: the repository's name has more than 255 characters")
    return ImageRef(registry, repository, tag, digest)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a registry says of an image: the digest of its manifest, and the labels of its configuration."""

    digest: str
    labels: Mapping[str, str]


class ImageRules(Protocol):
    """The operator's image settings (`images`)."""

    @property
    def allowed(self) -> Sequence[str]: ...

    @property
    def require_digest(self) -> bool: ...

    @property
    def refuse_latest(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class ImageProblem:
    """One rule that an image breaks, with the field that names it and how to mend it."""

    field: str
    message: str
    remedy: str


def matches(pattern: str, image: ImageRef) -> bool:
    """Whether an allowed pattern covers an image.

    Patterns are globs over `registry/repository`, one path component at a time: `*` stands for (part of) one
    component, `**` for any number of them. A pattern without wildcards covers that repository and all below it, so
    `ghcr.io/ameide` means the organisation and `ghcr.io` the registry, but never `ghcr.io.example.org`.
    """
    wanted = pattern.strip().rstrip("/").split("/")
    if not any(char in pattern for char in "*?["):
        wanted.append("**")
    return _matches(wanted, image.name.split("/"))


def _matches(wanted: Sequence[str], parts: Sequence[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_matches(wanted[1:], parts[skip:]) for skip in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], wanted[0]) and _matches(wanted[1:], parts[1:])


def image_problems(image: str, rules: ImageRules, *, field: str = "spec.image") -> list[ImageProblem]:
    """Every rule that an image breaks, not only the first. `field` names it in messages."""
    try:
        reference = parse_image(image)
    except ImageReferenceError as error:
        return [
            ImageProblem(field, f"{field}: {error}", "write registry/repository:tag or registry/repository@sha256:…")
        ]
    problems = []
    if rules.allowed and not any(matches(pattern, reference) for pattern in rules.allowed):
        problems.append(
            ImageProblem(
                field,
                f"{field}: {reference.name} is not among the allowed images ({', '.join(rules.allowed)})",
                "use an image from there, or have the operator's settings allow this one (images.allowed)",
            )
        )
    if rules.require_digest and not reference.digest:
        problems.append(
            ImageProblem(
                field,
                f"{field}: {image} is not pinned by a digest, which the operator's settings require",
                f"write {reference.name}{f':{reference.tag}' if reference.tag else ''}@sha256:…",
            )
        )
    if rules.refuse_latest and reference.floating:
        problems.append(
            ImageProblem(
                field,
                f"{field}: {image} means the tag latest, which the operator's settings refuse",
                "name a version as tag, or a digest",
            )
        )
    return problems
