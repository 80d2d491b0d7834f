"""What CRD generation does with the shapes that models may have."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
import yaml
from pydantic import Field

from ameide_shared.crd import crd_of, crd_yaml, schema_of, write_crd
from ameide_shared.spec import CommonSpec, CommonStatus, Model, ResourceModel
from ameide_shared.spec.quantities import Quantity


class Gadget(ResourceModel):
    """A gadget."""

    PLURAL: ClassVar[str] = "gadgets"
    COLUMNS: ClassVar[tuple[tuple[str, str], ...]] = (("Image", ".spec.image"),)
    STATUS: ClassVar[type[Model]] = CommonStatus

    kind: Literal["Gadget"] = Field(description="Kind.")
    spec: CommonSpec = Field(description="Spec.")


def test_the_crd_around_the_schema() -> None:
    crd = crd_of(Gadget)
    assert crd["metadata"]["name"] == "gadgets.ameide.io"
    assert crd["spec"]["names"]["categories"] == ["ameide"]
    (version,) = crd["spec"]["versions"]
    assert version["subresources"] == {"status": {}}
    columns = version["additionalPrinterColumns"]
    assert [column["name"] for column in columns] == ["Ready", "Reason", "Image", "Age", "Message"]
    assert [column["name"] for column in columns if column.get("priority")] == ["Message"]
    schema = version["schema"]["openAPIV3Schema"]
    assert schema["required"] == ["spec"]
    assert schema["properties"]["status"]["default"] == {"observedGeneration": -1}
    assert schema["properties"]["status"]["properties"]["observedGeneration"]["format"] == "int64"
    conditions = schema["properties"]["status"]["properties"]["conditions"]
    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])


def test_the_text_is_always_the_same_and_plain_yaml() -> None:
    text = crd_yaml(Gadget)
    assert text == crd_yaml(Gadget)
    assert yaml.safe_load(text) == crd_of(Gadget)
    assert "&id" not in text


def test_files_are_written_only_when_they_differ(tmp_path: Path) -> None:
    path, current = write_crd(Gadget, tmp_path / "crd", check=True)
    assert not current
    assert not path.exists()
    assert write_crd(Gadget, tmp_path / "crd") == (path, False)
    assert write_crd(Gadget, tmp_path / "crd", check=True) == (path, True)
    path.write_text(path.read_text() + "\n")
    assert write_crd(Gadget, tmp_path / "crd", check=True) == (path, False)


class Shapes(Model):
    either: Literal["a", "b"] = Field(default="a", description="e")
    amounts: Annotated[Mapping[str, Quantity], Field(max_length=3)] = Field(default={}, description="a")
    flag: bool | None = Field(default=None, description="f")


def test_shapes() -> None:
    properties = schema_of(Shapes)["properties"]
    assert properties["either"] == {"type": "string", "enum": ["a", "b"], "default": "a", "description": "e"}
    assert properties["flag"] == {"type": "boolean", "description": "f"}
    assert "default" not in properties["amounts"]
    assert properties["amounts"]["maxProperties"] == 3
    assert properties["amounts"]["additionalProperties"]["x-kubernetes-int-or-string"] is True


class Ambiguous(Model):
    value: int | str = Field(description="v")


def test_a_field_of_two_types_is_refused() -> None:
    with pytest.raises(TypeError, match="give the field one type"):
        schema_of(Ambiguous)
