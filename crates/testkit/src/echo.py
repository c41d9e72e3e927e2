"""A WebSocket server that sends each message back.

It listens on a free port of 127.0.0.1, says which on its first line, and ends with its input.
"""

import asyncio
import logging
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory


async def echo(connection):
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass


async def main():
    # What clients do wrong is what they are here for.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    deflate = ServerPerMessageDeflateFactory(compress_settings={"memLevel": 5})
    async with serve(
        echo,
        "127.0.0.1",
        0,
        extensions=[deflate],
        compression=None,
        max_size=64 << 20,
        ping_interval=None,
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
