"""The test's ingress controller: TLS with the wildcard Secret's certificate, then by the Ingress whose host is asked for to its Service.
What it does not do is what a real one does for everybody else: it is here so that the Ingress objects are read by somebody.
Thread safety: Front runs an event loop in a thread of its own; start and stop are called by one thread.
"""
import asyncio
import base64
import contextlib
import ssl
import threading

HEADER_MAX = 64 << 10


class Front:
    def __init__(self, kubectl, directory):
        self.kubectl, self.directory = kubectl, directory
        self.port = None

    def start(self):
        secret = self.kubectl.get("secret", "roost-workspaces-tls")["data"]
        for name in ("tls.crt", "tls.key"):
            (self.directory / name).write_bytes(base64.b64decode(secret[name]))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.directory / "tls.crt", self.directory / "tls.key")
        self.loop = asyncio.new_event_loop()
        started = threading.Event()

        def run():
            asyncio.set_event_loop(self.loop)
            server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.context))
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            self.loop.run_forever()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert started.wait(10)
        return self

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def backend(self, host):
        """(address, port) of the Service that the Ingress of that host names; None where there is none."""
        for ingress in self.kubectl.get("ingresses")["items"]:
            for rule in ingress["spec"]["rules"]:
                if rule["host"] == host:
                    assert host in ingress["spec"]["tls"][0]["hosts"] and ingress["spec"]["tls"][0]["secretName"] == "roost-workspaces-tls"
                    service = rule["http"]["paths"][0]["backend"]["service"]
                    return self.kubectl.get("service", service["name"])["spec"]["clusterIP"], service["port"]["number"]
        return None

    async def serve(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ssl.SSLError):
            head = await reader.readuntil(b"\r\n\r\n")
            host = next((line.split(b":", 1)[1].strip().decode() for line in head.split(b"\r\n") if line.lower().startswith(b"host:")), "")
            found = await self.loop.run_in_executor(None, self.backend, host.split(":")[0])
            try:
                if found is None:
                    raise OSError
                there = await asyncio.wait_for(asyncio.open_connection(*found), 10)
            except (OSError, asyncio.TimeoutError):
                writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
                writer.close()
                return
            there[1].write(head)
            await asyncio.gather(self.pump(reader, there[1]), self.pump(there[0], writer))

    async def pump(self, source, sink):
        with contextlib.suppress(OSError, ssl.SSLError):
            while data := await source.read(HEADER_MAX):
                sink.write(data)
                await sink.drain()
        sink.close()
