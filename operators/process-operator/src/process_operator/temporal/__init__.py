"""The operator's only door to Temporal: settings, a gateway that asks, a watcher that remembers.

`model`, `settings`, `errors` and `queries` are plain data and pure functions, fit for plans; `channel`, `gateway`,
`closing`, `link` and `watcher` do I/O. Nothing is imported here, so that the former do not bring the latter along.
"""
