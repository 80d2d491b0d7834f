"""A TLS front for the development server, which has none: real handshakes, and what clients sent, for assertions."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from ameide_dev.pki import Pki


@dataclass
class Front:
    """Where it listens, the bytes that clients sent in all connections, and how many there were."""

    address: str = ""
    received: bytearray = field(default_factory=bytearray)
    connections: int = 0


@asynccontextmanager
async def tls_front(
    behind: str, pki: Pki, *, name: str = "127.0.0.1", client_certificates: bool = False, port: int = 0
) -> AsyncIterator[Front]:
    """Take TLS connections as `name` and pass them on; with `client_certificates`, only from clients of the CA."""
    certificate, key = pki.server(f"front-{name}", [name])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    if client_certificates:
        context.load_verify_locations(pki.ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    front = Front()
    host, _, target_port = behind.partition(":")
    writers: set[asyncio.StreamWriter] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: bool) -> None:
        with suppress(OSError, ssl.SSLError):
            while chunk := await reader.read(65536):
                if record:
                    front.received += chunk
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        front.connections += 1
        back_reader, back_writer = await asyncio.open_connection(host, int(target_port))
        writers.update((writer, back_writer))
        await asyncio.gather(pump(reader, back_writer, True), pump(back_reader, writer, False))

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
    front.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield front
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.sleep(0.05)  # for the pumps to see it


# HPACK's Huffman code, of the letters that the tests' keys are made of and of the word before them.
_CODES = {
    **{letter: f"{number:05b}" for number, letter in enumerate("012aceiost")},
    "B": "1011101",
    "r": "101100",
    " ": "010100",
}


def on_the_wire(api_key: str) -> bytes:
    """An Authorization header's value as HTTP/2 sends it."""
    bits = "".join(_CODES[letter] for letter in f"Bearer {api_key}")
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")
