"""What the gateway answers about a real server: namespaces, pollers, backlog, open workflows, definitions in use."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.namespace.v1 import UpdateNamespaceInfo
from temporalio.api.workflowservice.v1 import DeprecateNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import WorkerDeploymentConfig

from ameide_dev.temporal import TemporalServer
from process_operator.temporal.errors import (
    ConnectionUnknown,
    NamespaceNotFound,
    TemporalRejected,
    TemporalUnreachable,
)
from process_operator.temporal.gateway import TemporalGateway
from process_operator.temporal.model import Namespace, NamespaceState, Target

from .conftest import CHECKSUM, Calls, Waiting, gateway_for, until, worker


async def test_a_namespace_is_registered(gateway: TemporalGateway, namespace: str) -> None:
    found = await gateway.describe_namespace("default", namespace)
    assert found == Namespace(namespace, NamespaceState.Registered, timedelta(days=1))


async def test_a_namespace_is_missing(gateway: TemporalGateway) -> None:
    assert await gateway.describe_namespace("default", "nowhere") == Namespace("nowhere", NamespaceState.Missing)


async def test_a_namespace_is_deprecated_and_deleted(gateway: TemporalGateway, client: Client) -> None:
    service = client.workflow_service
    await service.deprecate_namespace(DeprecateNamespaceRequest(namespace=client.namespace))
    assert (await gateway.describe_namespace("default", client.namespace)).state is NamespaceState.Deprecated
    deleted = UpdateNamespaceInfo(state="NAMESPACE_STATE_DELETED")
    await service.update_namespace(UpdateNamespaceRequest(namespace=client.namespace, update_info=deleted))
    assert (await gateway.describe_namespace("default", client.namespace)).state is NamespaceState.Deleted


async def test_a_missing_namespace_is_registered_once(temporal: TemporalServer) -> None:
    gateway = gateway_for(temporal.address, retention_days=3)
    assert await gateway.register_namespace("default", "made-by-us", "for tests") is True
    assert await gateway.register_namespace("default", "made-by-us") is False
    found = await gateway.describe_namespace("default", "made-by-us")
    assert (found.state, found.retention) == (NamespaceState.Registered, timedelta(days=3))


async def test_a_queue_that_nobody_uses_is_empty(gateway: TemporalGateway, target: Target) -> None:
    queue = await gateway.task_queue(target)
    assert (queue.pollers, queue.backlog, queue.backlog_age) == ((), 0, 0.0)


async def test_a_queue_of_a_missing_namespace_is_not_found(gateway: TemporalGateway) -> None:
    with pytest.raises(NamespaceNotFound, match="nowhere"):
        await gateway.task_queue(Target("default", "nowhere", "q"))


async def test_pollers_of_a_running_worker_are_seen(gateway: TemporalGateway, target: Target, client: Client) -> None:
    async with worker(client, identity="7@orders-process-abc"):

        async def both() -> bool:
            return any(p.workflows and p.activities for p in (await gateway.task_queue(target)).pollers)

        await until(both)
        queue = await gateway.task_queue(target)
    [poller] = queue.pollers
    assert poller.identity == "7@orders-process-abc"
    assert poller.of_pod("orders-process-abc")
    assert not poller.of_pod("process-abc")
    assert abs((datetime.now(UTC) - poller.last_access).total_seconds()) < 10
    assert queue.workflow_pollers == 1
    assert (poller.deployment, poller.build_id, queue.current_version) == ("", "", "")


async def test_backlog_counts_what_no_worker_takes(gateway: TemporalGateway, target: Target, client: Client) -> None:
    for number in range(3):
        await client.start_workflow("Waiting", id=f"w{number}", task_queue=target.queue)

    async def waiting() -> bool:
        return (await gateway.task_queue(target)).workflow_backlog == 3

    await until(waiting)
    queue = await gateway.task_queue(target)
    assert (queue.backlog, queue.activity_backlog, queue.pollers) == (3, 0, ())
    assert queue.backlog_age > 0
    async with worker(client):

        async def taken() -> bool:
            return (await gateway.task_queue(target)).backlog == 0

        await until(taken)


async def test_open_workflows_are_counted_until_they_end(
    gateway: TemporalGateway, target: Target, client: Client
) -> None:
    async with worker(client):
        one = await client.start_workflow(Waiting.run, id="one", task_queue=target.queue)
        await client.start_workflow(Waiting.run, id="two", task_queue=target.queue)

        async def count(number: int) -> bool:
            return (await gateway.count_open(target)).count == number

        await until(lambda: count(2))
        assert (await gateway.count_open(target)).zero_since is None
        await one.signal(Waiting.release)
        assert await one.result() == "released"
        await until(lambda: count(1))
        await client.get_workflow_handle("two").terminate()
        await until(lambda: count(0))
    assert (await gateway.count_open(target)).zero_since is not None


@pytest.mark.parametrize("queue", ["it's", "x' OR 1=1 --", "100%_tq", "naïve-ü", "`tick`", "a b;c"])
async def test_odd_queue_names_mean_only_themselves(gateway: TemporalGateway, client: Client, queue: str) -> None:
    await client.start_workflow("Waiting", id="odd", task_queue=queue)
    await client.start_workflow("Waiting", id="other", task_queue="other")
    target = Target("default", client.namespace, queue)

    async def one() -> bool:
        return (await gateway.count_open(target)).count == 1

    await until(one)
    assert (await gateway.task_queue(target)).workflow_backlog == 1


@pytest.mark.parametrize("queue", ["a\\b", 'say "q"', "line\nbreak", "", "x" * 1001])
async def test_a_name_that_visibility_cannot_find_is_refused_rather_than_counted_as_none(
    gateway: TemporalGateway, target: Target, queue: str
) -> None:
    with pytest.raises(TemporalRejected, match="task queue"):
        await gateway.count_open(Target(target.connection, target.namespace, queue))


async def test_definitions_in_use_are_told_by_memo(gateway: TemporalGateway, target: Target, client: Client) -> None:
    other = CHECKSUM.replace("a", "b")
    assert (await gateway.definitions_in_use(target)).complete  # of a queue without workflows
    async with worker(client):
        for number, checksum in enumerate([CHECKSUM, CHECKSUM, other]):
            await client.start_workflow(Waiting.run, args=[checksum], id=f"w{number}", task_queue=target.queue)

        async def told() -> bool:
            usage = await gateway.definitions_in_use(target)
            return usage.complete and len(usage.checksums) == 2

        await until(told)
        assert (await gateway.definitions_in_use(target)).checksums == {CHECKSUM, other}
        await client.start_workflow(Waiting.run, id="silent", task_queue=target.queue)

        async def silent() -> bool:
            return (await gateway.definitions_in_use(target)).silent == 1

        await until(silent)
        usage = await gateway.definitions_in_use(target)
        assert not usage.complete  # one has not said what it runs on
        assert usage.checksums == {CHECKSUM, other}


async def test_definitions_in_use_are_told_by_search_attribute_in_few_requests(
    gateway: TemporalGateway, target: Target, client: Client, calls: Calls
) -> None:
    await gateway.register_search_attribute("default", target.namespace)
    await gateway.register_search_attribute("default", target.namespace)  # there already
    other = CHECKSUM.replace("a", "b")
    async with worker(client):
        for number, checksum in enumerate([CHECKSUM, CHECKSUM, other, other]):
            await client.start_workflow(Waiting.run, args=[checksum, "sa"], id=f"w{number}", task_queue=target.queue)
        await client.start_workflow(Waiting.run, args=["sha256:memo"], id="memo", task_queue=target.queue)

        async def told() -> bool:
            usage = await gateway.definitions_in_use(target)
            return usage.complete and len(usage.checksums) == 3

        await until(told)
        calls.clear()
        assert (await gateway.definitions_in_use(target)).checksums == {CHECKSUM, other, "sha256:memo"}
    # One page of the first two values, one to see that there are no others, one of those without.
    assert calls == {("ListWorkflowExecutions", "OK"): 3}


async def test_a_scan_that_ends_early_is_not_complete(
    temporal: TemporalServer, target: Target, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("process_operator.temporal.gateway._PAGE", 2)
    gateway = gateway_for(temporal.address, scan_limit=2)
    async with worker(client):
        for number in range(3):
            await client.start_workflow(Waiting.run, args=[CHECKSUM], id=f"w{number}", task_queue=target.queue)

        async def all_there() -> bool:
            return (await gateway.count_open(target)).count == 3

        await until(all_there)
        usage = await gateway.definitions_in_use(target)
    assert not usage.complete


async def test_worker_deployments_are_described(gateway: TemporalGateway, target: Target, client: Client) -> None:
    assert await gateway.worker_deployment(target, "l2o") is None
    version = WorkerDeploymentVersion("l2o", "build-1")
    config = WorkerDeploymentConfig(
        version=version, use_worker_versioning=True, default_versioning_behavior=VersioningBehavior.PINNED
    )
    async with worker(client, deployment_config=config):

        async def known() -> bool:
            return await gateway.worker_deployment(target, "l2o") is not None

        await until(known)
        found = await gateway.worker_deployment(target, "l2o")
        queue = await gateway.task_queue(target)
    assert found is not None
    assert (found.build_ids, found.current_build_id) == (("build-1",), "")
    assert [(p.deployment, p.build_id) for p in queue.pollers] == [("l2o", "build-1")]


async def test_a_connection_that_settings_do_not_have_is_named(gateway: TemporalGateway) -> None:
    with pytest.raises(ConnectionUnknown, match="no Temporal connection 'elsewhere'; there is: default"):
        await gateway.describe_namespace("elsewhere", "x")


async def test_nothing_is_dialled_before_the_first_question(calls: Calls) -> None:
    gateway = gateway_for("127.0.0.1:1", calls)
    assert not calls
    with pytest.raises(TemporalUnreachable, match=r"Temporal connection default \(127\.0\.0\.1:1\) is not reachable"):
        await gateway.ping("default")
    assert calls == {("GetSystemInfo", "UNAVAILABLE"): 1}


async def test_a_server_that_answers_nothing_costs_the_timeout_and_no_more(own_server: TemporalServer) -> None:
    gateway = gateway_for(own_server.address, timeout=0.5)
    undialled = gateway_for(own_server.address, timeout=0.5)
    assert (await gateway.ping("default")).startswith("1.")
    own_server.pause()
    try:
        for asked in (gateway, undialled):
            began = time.monotonic()
            with pytest.raises(TemporalUnreachable, match=r"no answer within 0\.5 s"):
                await asked.describe_namespace("default", "default")
            assert time.monotonic() - began < 2
    finally:
        own_server.resume()
    for asked in (gateway, undialled):
        assert (await asked.describe_namespace("default", "default")).state is NamespaceState.Registered


async def test_a_server_that_comes_back_is_talked_to_again(own_server: TemporalServer) -> None:
    gateway = gateway_for(own_server.address)
    await gateway.ping("default")
    own_server.kill()
    with pytest.raises(TemporalUnreachable):
        await gateway.ping("default")
    await asyncio.to_thread(own_server.start)
    assert await gateway.ping("default")
