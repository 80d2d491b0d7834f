"""What an operator can be told: `AMEIDE_*` environment variables over an optional YAML file over defaults.

The file is named by `AMEIDE_SETTINGS_FILE`; its keys are spelled in camelCase (snake_case works too). An
environment variable joins the path with two underscores: `leaderElection.enabled` is `AMEIDE_LEADER_ELECTION__ENABLED`.
Lists are comma-separated or JSON, tables JSON. An operator with settings of its own derives from `OperatorSettings`.
"""

from __future__ import annotations

import json
import os
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel, to_snake
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

from ameide_shared.builders.network import NetworkProfile, parse_profiles

# Kubernetes sets these for each Service; one named ameide-… would look like a setting.
_SERVICE_VARIABLE = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)$")

PREFIX = "AMEIDE_"
DELIMITER = "__"
FILE_VARIABLE = "AMEIDE_SETTINGS_FILE"
VERSION_VARIABLE = "AMEIDE_VERSION"
"""Which release an image is of, see `version`; no setting."""


class SettingsError(ValueError):
    """Settings that cannot be used; the message has a line per setting, with its environment variable."""


def _split(value: object) -> object:
    """A list from an environment variable: JSON, or words between commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [word.strip() for word in value.split(",") if word.strip()]


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
SettingsT = typing.TypeVar("SettingsT", bound="OperatorSettings")
Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A group of settings; unknown keys are refused, so that a typing error in the file is seen."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class WatchSettings(Section):
    """Which namespaces are looked after."""

    namespaces: Words = Field((), description="Namespaces to watch: names, or globs such as team-*; empty for all.")
    exclude: Words = Field((), description="Names or globs of namespaces to leave out; needs cluster-wide rights.")
    referenced: Words = Field(
        (),
        description="Where namespaces are listed by name: others that are referred to, those of database clusters say.",
    )

    @property
    def cluster_wide(self) -> bool:
        """Whether watching needs rights in the whole cluster rather than in the listed namespaces."""
        return not self.namespaces or bool(self.exclude) or any(set("*?[") & set(name) for name in self.namespaces)


class ApiSettings(Section):
    """How hard the API server is used."""

    qps: float = Field(200.0, gt=0, description="Requests per second to the API server, on average.")
    burst: int = Field(400, ge=1, description="Requests to the API server that may go at once.")
    request_timeout: Seconds = Field(30.0, description="Seconds that one request may take.")


class LeaderElectionSettings(Section):
    """Which replica works; the others keep warm caches."""

    enabled: bool = Field(True, description="Elect one leader by a Lease; without it there must be one replica only.")
    namespace: str | None = Field(None, description="Namespace of the Lease; the operator's own where not set.")
    name: str | None = Field(None, description="Name of the Lease; the operator's name where not set.")
    lease_duration: Seconds = Field(15.0, description="Seconds after which a silent leader is replaced.")
    renew_deadline: Seconds = Field(10.0, description="Seconds without renewal after which a leader stops working.")
    retry_period: Seconds = Field(2.0, description="Seconds between tries to take or renew the Lease.")

    @model_validator(mode="after")
    def _ordered(self) -> LeaderElectionSettings:
        if not self.retry_period * 1.2 < self.renew_deadline < self.lease_duration:
            raise ValueError("expected 1.2 times retryPeriod < renewDeadline < leaseDuration (2, 10 and 15 by default)")
        return self


class HttpSettings(Section):
    """The port of /healthz, /readyz and /metrics."""

    host: str = Field("", description="Address to listen on; empty for all.")
    port: int = Field(8080, ge=0, le=65535, description="Port of /healthz, /readyz and /metrics; 0 for any free one.")


class RegistryCheckSettings(Section):
    """Whether, and how, registries are asked for the images that specs name."""

    enabled: bool = Field(False, description="Ask the registry that an image exists before it is rolled out.")
    timeout: Seconds = Field(10.0, description="Seconds that a registry may take to answer.")
    cache_seconds: Seconds = Field(300.0, description="Seconds for which an answer is believed; digests for ever.")
    credentials_file: Path | None = Field(None, description="A Docker config.json with credentials for registries.")
    insecure_registries: Words = Field((), description="Registries (host:port) that are spoken to without TLS.")


class ImagePolicySettings(Section):
    """Which images may run."""

    allowed: Words = Field((), description="Globs over registry/repository that images must match; empty for any.")
    require_digest: bool = Field(False, description="Refuse images that are not pinned by digest.")
    refuse_latest: bool = Field(False, description="Refuse the tag latest, and images with neither tag nor digest.")
    registry_check: RegistryCheckSettings = Field(default_factory=RegistryCheckSettings)


class TenancySettings(Section):
    """How tenants are told apart."""

    require_label: bool = Field(True, description="Namespaces must bear the label ameide.io/tenant-id.")


class AllowedReference(Section):
    """Consent, given by the cluster's operator, to references across namespaces; both are globs over namespaces."""

    model_config = ConfigDict(populate_by_name=True)

    source: str = Field(alias="from", description="Glob over the namespaces that refer.")
    target: str = Field(alias="to", description="Glob over the namespaces referred to.")


class ReferenceSettings(Section):
    """References across namespaces that need no annotation on their target."""

    allowed: tuple[AllowedReference, ...] = Field((), description='[{"from": glob, "to": glob}] over namespaces.')


class OtelSettings(Section):
    """Where workloads send telemetry."""

    endpoint: str | None = Field(None, description="OTEL_EXPORTER_OTLP_ENDPOINT of workloads; not set where empty.")


class PodSettings(Section):
    """Defaults of the pods that operators write; a spec's own values win."""

    image_pull_secrets: Words = Field((), description="Secrets with registry credentials, in the pod's namespace.")
    priority_class_name: str | None = Field(None, description="PriorityClass of pods.")
    node_selector: dict[str, str] = Field(default_factory=dict, description="Labels of nodes that pods may run on.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Annotations of every pod.")


class ServiceMonitorSettings(Section):
    """ServiceMonitors, written where their API is installed."""

    enabled: bool = Field(True, description="Write ServiceMonitors where that API is installed.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels by which Prometheus selects monitors.")
    interval_seconds: int = Field(30, ge=1, description="Seconds between two scrapes.")


class HistorySettings(Section):
    """How much of the past is kept."""

    revisions: int = Field(10, ge=1, description="Pod template revisions kept per resource.")
    jobs: int = Field(3, ge=1, description="Finished migration Jobs kept per Domain, besides the current one.")


class OperatorSettings(BaseSettings):
    """Settings that every operator has; immutable once loaded. Durations are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=DELIMITER, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    watch: WatchSettings = Field(default_factory=WatchSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    leader_election: LeaderElectionSettings = Field(default_factory=LeaderElectionSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severity logged.")
    log_format: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a terminal, else JSON.")

    workers: int = Field(12, ge=1, le=256, description="Resources that are reconciled at the same time.")
    reconcile_timeout: Seconds = Field(120.0, description="Seconds that one reconcile may take.")
    resync_seconds: Seconds = Field(600.0, description="Seconds after which a resource is looked at without an event.")
    audit_seconds: Seconds = Field(600.0, description="Seconds between comparisons of the caches with the API server.")
    deletion_timeout: Seconds = Field(900.0, description="Seconds that deletion waits for what cannot be cleaned up.")

    images: ImagePolicySettings = Field(default_factory=ImagePolicySettings)
    tenancy: TenancySettings = Field(default_factory=TenancySettings)
    references: ReferenceSettings = Field(default_factory=ReferenceSettings)
    network_profiles: Annotated[dict[str, NetworkProfile] | None, BeforeValidator(parse_profiles)] = Field(
        None, description="Table of network profiles by name; replaces the built-in one."
    )
    otel: OtelSettings = Field(default_factory=OtelSettings)
    pods: PodSettings = Field(default_factory=PodSettings)
    service_monitor: ServiceMonitorSettings = Field(default_factory=ServiceMonitorSettings)
    history: HistorySettings = Field(default_factory=HistorySettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments over environment over file; no .env files and no secrets folders."""
        return (
            init_settings,
            _SnakeCase(settings_cls, env_settings),
            _SnakeCase(settings_cls, _FileSource(settings_cls)),
        )


def load(settings_cls: type[SettingsT], **overrides: Any) -> SettingsT:
    """Read the settings. Raises SettingsError with a line per setting that is wrong."""
    try:
        return settings_cls(**overrides)
    except ValidationError as error:
        lines = [f"{_describe_path(item['loc'])}: {item['msg']}" for item in error.errors(include_input=False)]
        raise SettingsError("settings are not valid:\n  " + "\n  ".join(lines)) from None
    except SourceError as error:
        raise SettingsError(f"settings are not valid: {error} (lists are comma-separated, tables JSON)") from None


# --- description, for --help and the docs ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its environment variable, its path in the file, type and default as people write them."""

    env: str
    path: str
    type: str
    default: str
    description: str


def describe(settings_cls: type[OperatorSettings]) -> list[Setting]:
    """Every setting of an operator, in order of declaration, groups flattened."""
    return list(_describe(settings_cls, ()))


def unknown_variables(settings_cls: type[OperatorSettings], environ: Mapping[str, str] | None = None) -> list[str]:
    """`AMEIDE_*` variables that no setting reads: most likely typing errors, worth a warning."""
    known = {setting.env for setting in describe(settings_cls)} | {FILE_VARIABLE, VERSION_VARIABLE}
    groups = {env.rsplit(DELIMITER, depth)[0] for env in known for depth in range(1, env.count(DELIMITER) + 1)}
    tables = tuple(s.env + DELIMITER for s in describe(settings_cls) if s.type.startswith("table"))
    names = (name.upper() for name in (os.environ if environ is None else environ))
    return sorted(
        name
        for name in names
        if name.startswith(PREFIX)
        and name not in known | groups
        and not name.startswith(tables)
        and not _SERVICE_VARIABLE.search(name)
    )


def _describe(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if section is not None:
            yield from _describe(section, (*path, name))
            continue
        yield Setting(
            env=PREFIX + DELIMITER.join((*path, name)).upper(),
            path=".".join(to_camel(part) for part in (*path, name)),
            type=_type_name(field.annotation),
            default=_default_text(field),
            description=field.description or "",
        )


def _describe_path(location: tuple[int | str, ...]) -> str:
    names = [part for part in location if isinstance(part, str) and not part.startswith("function-")]
    if not names:
        return "settings"
    return f"{'.'.join(to_camel(name) for name in names)} ({PREFIX}{DELIMITER.join(names).upper()})"


def _default_text(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined or default is None or default in ((), {}, ""):
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


def _type_name(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(item) for item in arguments if item is not type(None))
    if origin is Literal:
        return " | ".join(str(item) for item in arguments)
    if origin in (tuple, list):
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return f"table of {_type_name(arguments[1])}"
    names = {str: "text", int: "integer", float: "number", bool: "boolean", Path: "path", Any: "objects"}
    return names.get(annotation, "objects")


def _section(annotation: Any) -> type[BaseModel] | None:
    """The group of settings that a field holds, if it holds one."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


# --- sources --------------------------------------------------------------------------------------------------------


class _FileSource(PydanticBaseSettingsSource):
    """The YAML file that AMEIDE_SETTINGS_FILE names; nothing where that is not set."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False  # required by the base class; the file is read as a whole

    def __call__(self) -> dict[str, Any]:
        name = os.environ.get(FILE_VARIABLE)
        if not name:
            return {}
        try:
            content = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise SettingsError(f"{FILE_VARIABLE} names {name}, which cannot be read as YAML: {error}") from None
        if content is None:
            return {}
        if not isinstance(content, dict):
            raise SettingsError(f"{FILE_VARIABLE} names {name}: expected a mapping of settings at its top")
        return content


class _SnakeCase(PydanticBaseSettingsSource):
    """Another source with its keys in snake_case, so that sources merge and both spellings work."""

    def __init__(self, settings_cls: type[BaseSettings], source: PydanticBaseSettingsSource) -> None:
        super().__init__(settings_cls)
        self._source = source

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._source.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        return _snake_keys(self.settings_cls, self._source())


def _snake_keys(model: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    """Rename keys that are settings; the keys of tables (labels, connections) are the user's and stay."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        name = to_snake(key) if isinstance(key, str) and to_snake(key) in model.model_fields else key
        field = model.model_fields.get(name)
        section = _section(field.annotation) if field else None
        entries = _entries(field.annotation) if field else None
        if section and isinstance(value, dict):
            result[name] = _snake_keys(section, value)
        elif entries and isinstance(value, dict):
            result[name] = {own: _snake_keys(entries, x) if isinstance(x, dict) else x for own, x in value.items()}
        else:
            result[name] = value
    return result


def _entries(annotation: Any) -> type[BaseModel] | None:
    """What each entry of a table is, where they are groups of settings, as connections are."""
    arguments = typing.get_args(annotation) if typing.get_origin(annotation) is dict else ()
    return _section(arguments[1]) if arguments else None
