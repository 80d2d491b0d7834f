"""The UISurface operator's only door to Keycloak: what a login needs there, made, watched and taken away again.

`settings` names connections, `model` says what is wanted, `diff` (pure) what is to be done, `admin` does it, and
`watcher` looks after it in the background.
"""
