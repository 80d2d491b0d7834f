"""The Transformation API: what definitions are, the published contract, and how to follow changes."""
