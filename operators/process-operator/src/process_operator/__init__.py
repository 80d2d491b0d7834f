"""The Process operator: from a BPMN definition and a Process resource to Temporal workers."""
