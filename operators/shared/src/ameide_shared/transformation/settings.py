"""How operators reach the Transformation API."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from ameide_shared.settings import Seconds, Section
from ameide_shared.web import base_url


class TransformationSettings(Section):
    """The Transformation API, which has the definitions of processes and agents."""

    url: str = Field("", description="Base URL of the Transformation API, such as https://transformation.ameide.svc.")
    token_file: Path | None = Field(
        None, description="File with the bearer token for the Transformation API; read anew whenever it changes."
    )
    ca_file: Path | None = Field(
        None, description="File with the certificate authorities (PEM) that the API's certificate is checked against."
    )
    timeout: Seconds = Field(10.0, description="Seconds that a question to the API may take, its retries included.")
    attempts: int = Field(3, ge=1, le=10, description="Tries per question, where the API cannot be reached or is busy.")
    poll_seconds: float = Field(60.0, ge=1, description="Seconds between two looks whether a definition has changed.")
    max_bytes: int = Field(
        4 * 1024 * 1024, ge=1024, description="Bytes that an answer of the API may have; larger ones are refused."
    )

    @field_validator("url")
    @classmethod
    def _is_base_url(cls, value: str) -> str:
        return base_url(value)
