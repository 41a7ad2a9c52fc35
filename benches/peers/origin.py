"""An origin of the gap and reload scenarios, a process of its own: python3 origin.py ADDRESS PORT NAME LOG

It answers every request with its name, and first writes the `X-Gap-Id` of the request to LOG, one a line: what was executed
twice is seen there. SIGUSR1 makes it answer 500 to everything, SIGUSR2 answer everything after three seconds. A request for an
upgrade gets a tunnel that echoes.
"""

import asyncio
import os
import signal
import sys

SLOW_SECONDS = 3


def field(head, name):
    """A header's value in a lower-case head; empty if it is not there."""
    start = head.find(b"\r\n" + name + b":")
    return head[start + len(name) + 3 : head.index(b"\r\n", start + 2)].strip() if start >= 0 else b""


async def echo(reader, writer):
    """A tunnel: what comes in goes out."""
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()


async def main(address, port, name, log):
    mode = "well"

    def change(to):
        nonlocal mode
        mode = to

    async def serve(reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(field(head, b"content-length") or 0))
                if field(head, b"upgrade"):
                    await echo(reader, writer)
                    return
                if ident := field(head, b"x-gap-id"):
                    os.write(executed, ident + b"\n")
                if mode == "slow":
                    await asyncio.sleep(SLOW_SECONDS)
                status = b"500 Internal Server Error" if mode == "error" else b"200 OK"
                writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the proxy has closed its connection
        finally:
            writer.close()

    body = name.encode()
    executed = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, change, "error")
    loop.add_signal_handler(signal.SIGUSR2, change, "slow")
    server = await asyncio.start_server(serve, address, int(port), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
