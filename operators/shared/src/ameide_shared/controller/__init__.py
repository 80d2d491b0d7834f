"""The machinery that runs reconciles: work queue, workers, leader election, Events, audit, and kopf to watch."""
