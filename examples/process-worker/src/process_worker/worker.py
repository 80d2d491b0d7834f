"""Runs the worker: connects, polls, answers probes, follows replaced credentials, and stops in good order."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from contextlib import suppress
from datetime import timedelta

import httpx
from prometheus_client import Gauge
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError
from temporalio.worker import Worker, WorkerDeploymentConfig

from process_worker import metrics
from process_worker.activities import Activities
from process_worker.config import Config
from process_worker.connection import UnreachableError, connect
from process_worker.health import Health, HealthServer
from process_worker.tables import TABLES
from process_worker.workflow import ATTRIBUTE, Process

log = logging.getLogger(__name__)

_RPC = timedelta(seconds=5)
_FIRST_LOOK_SECONDS, _LOOK_SECONDS = 0.5, 10.0
_FIRST_DELAY_SECONDS, _MOST_DELAY_SECONDS = 0.5, 10.0


async def run(config: Config) -> None:
    """Work until SIGTERM or SIGINT. Raises TableError when the current definition is not there."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(config, stop)


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Work until `stop` is set."""
    TABLES.load(config.definitions, config.checksum)
    _describe(config)
    sdk_port = _free_port()
    runtime = Runtime(
        telemetry=TelemetryConfig(
            metrics=PrometheusConfig(bind_address=f"127.0.0.1:{sdk_port}"), global_tags=dict(config.metrics_tags)
        )
    )
    health = Health(definitions=TABLES.checksums())
    server = HealthServer(health, config.host, config.port, f"http://127.0.0.1:{sdk_port}/metrics")
    server.start()
    try:
        client = await _reach(config, health, runtime, stop)
        if client is not None:
            await _work(client, config, health, runtime, stop)
    finally:
        health.stopping = True
        server.stop()


def _describe(config: Config) -> None:
    metrics.DEFINITIONS.set(len(TABLES.checksums()))
    labels = {
        "process": str(TABLES.get(TABLES.current)["process"]),
        "definition_id": config.definition_id,
        "definition_version": config.definition_version,
        "definition_checksum": config.checksum,
        "tenant": config.tenant,
        **{f"tag_{name}": value for name, value in config.metrics_tags.items()},
    }
    name = "process_worker_info"
    with suppress(ValueError):  # a tag whose name Prometheus does not take, or a second worker in one process
        Gauge(name, "What this worker runs.", labels.keys(), registry=metrics.REGISTRY).labels(**labels).set(1)
    log.info("runs %s; definitions held: %s", labels, ", ".join(TABLES.checksums()))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _reach(config: Config, health: Health, runtime: Runtime, stop: asyncio.Event) -> Client | None:
    """Wait until Temporal answers and the namespace is there; None when asked to stop before that."""
    delay = _FIRST_DELAY_SECONDS
    while not stop.is_set():
        try:
            client = await connect(config, runtime)
        except (UnreachableError, OSError) as error:
            health.waits_for = f"Temporal namespace {config.namespace} at {config.address}: {error}"
            log.warning("waits for %s", health.waits_for)
        else:
            metrics.CONNECTED.set(1)
            return client
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), delay)
        delay = min(delay * 2, _MOST_DELAY_SECONDS)
    return None


async def _work(client: Client, config: Config, health: Health, runtime: Runtime, stop: asyncio.Event) -> None:
    searchable = _Searchable()
    await searchable.look(client)
    # How many calls there are at once is limited elsewhere; a pool that is full would only look like a slow dependency.
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None), trust_env=False) as http:
        activities = Activities(config, lambda: searchable.known, http)
        worker = build(client, config, activities)
        watching = asyncio.create_task(_watch(worker, config, health, searchable, runtime))
        running = asyncio.create_task(worker.run())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
            health.stopping = True
            log.info("stops: takes no new tasks, lets the running ones end")
            if not running.done():
                await worker.shutdown()
            await running
        finally:
            for task in (watching, stopping):
                task.cancel()
            await asyncio.gather(watching, stopping, return_exceptions=True)


def build(client: Client, config: Config, activities: Activities) -> Worker:
    """The SDK's worker for the configuration; it polls once it is run."""
    return Worker(
        client,
        task_queue=config.task_queue,
        workflows=[Process],
        activities=[activities.begin, activities.call],
        identity=config.identity,
        # With one tenant its share is the worker's own: what is beyond stays in the queue, where its backlog shows.
        # Workers of many tenants take more and let each tenant's calls wait for its share.
        max_concurrent_activities=config.concurrency if config.tenant else None,
        graceful_shutdown_timeout=timedelta(seconds=config.shutdown_seconds),
        deployment_config=_deployment(config),
    )


def _deployment(config: Config) -> WorkerDeploymentConfig | None:
    if config.deployment is None:
        return None
    name, build = config.deployment
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(name, build),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


class _Searchable:
    """Whether the namespace has the search attribute of the definition's checksum; once there, it stays."""

    known = False

    async def look(self, client: Client) -> None:
        if self.known:
            return
        with suppress(RPCError):
            request = ListSearchAttributesRequest(namespace=client.namespace)
            answer = await client.operator_service.list_search_attributes(request, timeout=_RPC)
            self.known = ATTRIBUTE.name in answer.custom_attributes


async def _watch(worker: Worker, config: Config, health: Health, searchable: _Searchable, runtime: Runtime) -> None:
    """See whether we poll, and follow credentials that are replaced."""
    state = config.credentials.state()
    while True:
        try:
            if (now := config.credentials.state()) != state:
                worker.client = await connect(config, runtime)
                state = now
                log.info("connects anew with the replaced credentials")
            polling = await _polls(worker.client, config)
            metrics.CONNECTED.set(1)
            metrics.POLLING.set(polling)
            if polling and not health.seen_polling:
                log.info("polls task queue %s of namespace %s", config.task_queue, config.namespace)
                health.seen_polling = True
            await searchable.look(worker.client)
        except RPCError as error:
            metrics.CONNECTED.set(0)
            log.warning("Temporal does not answer: %s: %s", error.status.name, error.message)
        except (UnreachableError, OSError) as error:
            log.warning("the replaced credentials do not work, the former stay: %s", error)
        await asyncio.sleep(_LOOK_SECONDS if health.seen_polling else _FIRST_LOOK_SECONDS)


async def _polls(client: Client, config: Config) -> bool:
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=config.namespace,
            task_queue=TaskQueue(name=config.task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        ),
        timeout=_RPC,
    )
    return any(poller.identity == config.identity for poller in answer.pollers)
