"""BPMN definitions compiled to binding tables, which workers execute. docs/bpmn.md is the reference."""

from process_operator.bpmn.compiler import Compiled, compile
from process_operator.bpmn.context import Dependencies
from process_operator.bpmn.model import Model, parse
from process_operator.bpmn.problems import InvalidDefinition, Problem
from process_operator.bpmn.table import FORMAT_VERSION, BindingTable, checksum, json_schema_text

__all__ = [
    "FORMAT_VERSION",
    "BindingTable",
    "Compiled",
    "Dependencies",
    "InvalidDefinition",
    "Model",
    "Problem",
    "checksum",
    "compile",
    "json_schema_text",
    "parse",
]
