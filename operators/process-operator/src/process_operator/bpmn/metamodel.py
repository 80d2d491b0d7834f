"""The BPMN 2.0 metamodel as data: each type's bases and properties, under the names that bpmn-moddle uses.

One line describes one type: `Name < Base, Base: property …`. A property is written `name` (text), `name?` (boolean),
`name#` (integer), `name=Type` (contains one), `name=Type*` (contains several), `name@Type` and `name@Type*` (refers to
elements by id) or `name~` (anything; not read). Abstract types carry a `!`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

PREFIX: Final = "bpmn:"


class Form(Enum):
    """What the value of a property is."""

    TEXT = "text"
    FLAG = "true or false"
    NUMBER = "an integer"
    PART = "an element"
    PARTS = "a list of elements"
    REFERENCE = "the id of an element"
    REFERENCES = "a list of ids"
    ANYTHING = "anything"


@dataclass(frozen=True, slots=True)
class Property:
    """A property of a type: its form, and for parts and references the type that is expected."""

    name: str
    form: Form
    range: str = ""


@dataclass(frozen=True, slots=True)
class Type:
    """A type with all its properties, inherited ones too; `ancestors` holds the type itself."""

    name: str
    abstract: bool
    ancestors: frozenset[str]
    properties: Mapping[str, Property]

    def is_a(self, name: str) -> bool:
        return name in self.ancestors


_TYPES: Final = """
Definitions < BaseElement: name targetNamespace expressionLanguage typeLanguage exporter exporterVersion imports=Import* extensions=Extension* relationships~ rootElements=RootElement* diagrams~
Import: importType location namespace
Extension: mustUnderstand? definition~
!BaseElement: id documentation=Documentation* extensionDefinitions~ extensionElements~
Documentation < BaseElement: text textFormat
!RootElement < BaseElement:
Interface < RootElement: name operations=Operation* implementationRef
Operation < BaseElement: name inMessageRef@Message outMessageRef@Message errorRef@Error* implementationRef
EndPoint < RootElement:
PartnerEntity < RootElement: name participantRef@Participant*
PartnerRole < RootElement: name participantRef@Participant*
Category < RootElement: name categoryValue=CategoryValue*
CategoryValue < BaseElement: value
Resource < RootElement: name resourceParameters~
ItemDefinition < RootElement: itemKind structureRef isCollection? import~
Message < RootElement: name itemRef@ItemDefinition
Signal < RootElement: name structureRef
Error < RootElement: name errorCode structureRef
Escalation < RootElement: name escalationCode structureRef
CorrelationProperty < RootElement: name type correlationPropertyRetrievalExpression~
!CallableElement < RootElement: name ioSpecification=InputOutputSpecification supportedInterfaceRef@Interface* ioBinding~
GlobalTask < CallableElement: resources~
GlobalUserTask < GlobalTask: implementation renderings~
GlobalManualTask < GlobalTask:
GlobalScriptTask < GlobalTask: scriptLanguage script
GlobalBusinessRuleTask < GlobalTask: implementation
!FlowElementsContainer < BaseElement: laneSets=LaneSet* flowElements=FlowElement* artifacts=Artifact*
Process < CallableElement, FlowElementsContainer: processType isClosed? isExecutable? auditing~ monitoring~ properties=Property* resources~ correlationSubscriptions~ supports@Process* definitionalCollaborationRef@Collaboration
LaneSet < BaseElement: name lanes=Lane*
Lane < BaseElement: name partitionElement~ partitionElementRef flowNodeRef@FlowNode* childLaneSet=LaneSet
Collaboration < RootElement: name isClosed? participants=Participant* messageFlows=MessageFlow* artifacts=Artifact* conversations~ conversationAssociations~ participantAssociations~ messageFlowAssociations~ correlationKeys~ choreographyRef~ conversationLinks~
Choreography < Collaboration: flowElements~
GlobalChoreographyTask < Choreography: initiatingParticipantRef@Participant
GlobalConversation < Collaboration:
Participant < BaseElement: name processRef@Process interfaceRef@Interface* endPointRefs@EndPoint* participantMultiplicity~
MessageFlow < BaseElement: name sourceRef@BaseElement targetRef@BaseElement messageRef@Message
!Artifact < BaseElement:
Association < Artifact: sourceRef@BaseElement targetRef@BaseElement associationDirection
TextAnnotation < Artifact: text textFormat
Group < Artifact: categoryValueRef@CategoryValue
!FlowElement < BaseElement: name auditing~ monitoring~ categoryValueRef@CategoryValue*
SequenceFlow < FlowElement: isImmediate? conditionExpression=Expression sourceRef@FlowNode targetRef@FlowNode
!FlowNode < FlowElement: incoming@SequenceFlow* outgoing@SequenceFlow*
DataObject < FlowElement: isCollection? itemSubjectRef@ItemDefinition dataState~
DataObjectReference < FlowElement: dataObjectRef@DataObject itemSubjectRef@ItemDefinition dataState~
DataStore < RootElement: name capacity# isUnlimited? itemSubjectRef@ItemDefinition dataState~
DataStoreReference < FlowElement: dataStoreRef@DataStore itemSubjectRef@ItemDefinition dataState~
Property < BaseElement: name itemSubjectRef@ItemDefinition dataState~
DataInput < BaseElement: name isCollection? itemSubjectRef@ItemDefinition dataState~ inputSetRef~ inputSetWithOptional~ inputSetWithWhileExecuting~
DataOutput < BaseElement: name isCollection? itemSubjectRef@ItemDefinition dataState~ outputSetRef~ outputSetWithOptional~ outputSetWithWhileExecuting~
InputSet < BaseElement: name dataInputRefs@DataInput* optionalInputRefs@DataInput* whileExecutingInputRefs@DataInput* outputSetRefs@OutputSet*
OutputSet < BaseElement: name dataOutputRefs@DataOutput* optionalOutputRefs@DataOutput* whileExecutingOutputRefs@DataOutput* inputSetRefs@InputSet*
InputOutputSpecification < BaseElement: dataInputs=DataInput* dataOutputs=DataOutput* inputSets=InputSet* outputSets=OutputSet*
!DataAssociation < BaseElement: sourceRef@BaseElement* targetRef@BaseElement transformation=Expression assignment~
DataInputAssociation < DataAssociation:
DataOutputAssociation < DataAssociation:
!InteractionNode:
!Activity < FlowNode: isForCompensation? startQuantity# completionQuantity# default@SequenceFlow ioSpecification=InputOutputSpecification boundaryEventRefs@BoundaryEvent* properties=Property* dataInputAssociations=DataInputAssociation* dataOutputAssociations=DataOutputAssociation* resources~ loopCharacteristics=LoopCharacteristics
Task < Activity:
ServiceTask < Task: implementation operationRef@Operation
SendTask < Task: implementation operationRef@Operation messageRef@Message
ReceiveTask < Task: implementation operationRef@Operation messageRef@Message instantiate?
UserTask < Task: implementation renderings~
ManualTask < Task:
ScriptTask < Task: scriptFormat script
BusinessRuleTask < Task: implementation
CallActivity < Activity: calledElement
SubProcess < Activity, FlowElementsContainer: triggeredByEvent?
Transaction < SubProcess: protocol method
AdHocSubProcess < SubProcess: completionCondition=Expression ordering cancelRemainingInstances?
!Gateway < FlowNode: gatewayDirection
ExclusiveGateway < Gateway: default@SequenceFlow
InclusiveGateway < Gateway: default@SequenceFlow
ComplexGateway < Gateway: default@SequenceFlow activationCondition=Expression
ParallelGateway < Gateway:
EventBasedGateway < Gateway: instantiate? eventGatewayType
!Event < FlowNode: properties=Property*
!CatchEvent < Event: parallelMultiple? dataOutputs=DataOutput* dataOutputAssociations=DataOutputAssociation* outputSet=OutputSet eventDefinitions=EventDefinition* eventDefinitionRef@EventDefinition*
!ThrowEvent < Event: dataInputs=DataInput* dataInputAssociations=DataInputAssociation* inputSet=InputSet eventDefinitions=EventDefinition* eventDefinitionRef@EventDefinition*
StartEvent < CatchEvent: isInterrupting?
IntermediateCatchEvent < CatchEvent:
BoundaryEvent < CatchEvent: cancelActivity? attachedToRef@Activity
IntermediateThrowEvent < ThrowEvent:
ImplicitThrowEvent < ThrowEvent:
EndEvent < ThrowEvent:
!EventDefinition < RootElement:
TimerEventDefinition < EventDefinition: timeDate=Expression timeDuration=Expression timeCycle=Expression
MessageEventDefinition < EventDefinition: messageRef@Message operationRef@Operation
SignalEventDefinition < EventDefinition: signalRef@Signal
ErrorEventDefinition < EventDefinition: errorRef@Error
EscalationEventDefinition < EventDefinition: escalationRef@Escalation
ConditionalEventDefinition < EventDefinition: condition=Expression
CompensateEventDefinition < EventDefinition: activityRef@Activity waitForCompletion?
LinkEventDefinition < EventDefinition: name source~ target~
TerminateEventDefinition < EventDefinition:
CancelEventDefinition < EventDefinition:
!LoopCharacteristics < BaseElement:
StandardLoopCharacteristics < LoopCharacteristics: testBefore? loopMaximum# loopCondition=Expression
MultiInstanceLoopCharacteristics < LoopCharacteristics: isSequential? behavior loopCardinality=Expression completionCondition=Expression loopDataInputRef@BaseElement loopDataOutputRef@BaseElement inputDataItem=DataInput outputDataItem=DataOutput complexBehaviorDefinition~ oneBehaviorEventRef@EventDefinition noneBehaviorEventRef@EventDefinition
Expression < BaseElement: body
FormalExpression < Expression: language evaluatesToTypeRef~
"""  # noqa: E501 - one line for each type, so that it can be searched and compared with the standard

_LINE: Final = re.compile(r"(?P<abstract>!?)(?P<name>\w+)(?: < (?P<bases>[\w, ]+))?:(?P<properties>.*)")
_PROPERTY: Final = re.compile(r"(?P<name>\w+)(?P<mark>[?#~=@]?)(?P<range>\w*)(?P<many>\*?)")


def _property(text: str) -> Property:
    found = _PROPERTY.fullmatch(text)
    assert found is not None, text
    many = bool(found["many"])
    form = {
        "": Form.TEXT,
        "?": Form.FLAG,
        "#": Form.NUMBER,
        "~": Form.ANYTHING,
        "=": Form.PARTS if many else Form.PART,
        "@": Form.REFERENCES if many else Form.REFERENCE,
    }[found["mark"]]
    return Property(found["name"], form, found["range"])


def _declared() -> Iterator[tuple[str, bool, list[str], dict[str, Property]]]:
    for line in _TYPES.strip().splitlines():
        found = _LINE.fullmatch(line)
        assert found is not None, line
        bases = [base.strip() for base in (found["bases"] or "").split(",") if base.strip()]
        properties = {item.name: item for item in map(_property, found["properties"].split())}
        yield found["name"], bool(found["abstract"]), bases, properties


def _build() -> dict[str, Type]:
    declared = {name: (abstract, bases, own) for name, abstract, bases, own in _declared()}
    built: dict[str, Type] = {}

    def type_of(name: str) -> Type:
        if name not in built:
            abstract, bases, own = declared[name]
            parents = [type_of(base) for base in bases]
            inherited = {key: item for parent in parents for key, item in parent.properties.items()}
            ancestors = frozenset({name}).union(*(parent.ancestors for parent in parents))
            built[name] = Type(name, abstract, ancestors, {**inherited, **own})
        return built[name]

    for name in declared:
        type_of(name)
    return built


TYPES: Final[Mapping[str, Type]] = _build()
"""Every type by its name, without the prefix `bpmn:`."""
