"""Connects to Temporal with what the mounted files say now."""

from __future__ import annotations

import asyncio

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.service import RPCError, TLSConfig

from process_worker.config import Config, TemporalFiles

_SECONDS = 10


class UnreachableError(Exception):
    """Temporal does not answer, or not to us; the message says why."""


async def connect(config: Config, runtime: Runtime | None = None) -> Client:
    """A connected client of the namespace, which is known to be there.

    Raises UnreachableError, and OSError when a credential's file cannot be read.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            client = await _dial(config, runtime)
            request = DescribeNamespaceRequest(namespace=config.namespace)
            await client.workflow_service.describe_namespace(request)
    except RPCError as error:
        raise UnreachableError(f"{error.status.name}: {error.message}") from error
    except RuntimeError as error:  # what the SDK raises when it cannot connect
        raise UnreachableError(f"UNAVAILABLE: {str(error).partition(chr(10))[0]}") from error
    except TimeoutError as error:
        raise UnreachableError(f"DEADLINE_EXCEEDED: no answer in {_SECONDS} s") from error
    return client


async def _dial(config: Config, runtime: Runtime | None) -> Client:
    files = config.credentials
    key = files.api_key.read_text(encoding="utf-8").strip() if files.api_key else None
    return await Client.connect(
        config.address,
        namespace=config.namespace,
        identity=config.identity,
        tls=_tls(files) if files.tls else False,
        api_key=key,
        runtime=runtime,
    )


def _tls(files: TemporalFiles) -> TLSConfig:
    return TLSConfig(
        server_root_ca_cert=files.ca.read_bytes() if files.ca else None,
        domain=files.server_name,
        client_cert=files.certificate.read_bytes() if files.certificate else None,
        client_private_key=files.key.read_bytes() if files.key else None,
    )
