"""The Agent operator: LLM runtimes with secrets, tool grants and a security policy."""
