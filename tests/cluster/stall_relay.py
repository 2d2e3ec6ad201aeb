#!/usr/bin/env python3
"""stall_relay.py HOST PORT: passes TCP connections on to that address, from a free port of 127.0.0.1, which it prints. After SIGUSR1
not another byte passes on the connections that are open, and none of them ends, as where a load balancer's node is gone; new ones
work.
"""
import signal, socket, sys, threading, time

upstream, stalled_at = (sys.argv[1], int(sys.argv[2])), 0.0


def stall(*_):
    global stalled_at
    stalled_at = time.monotonic()


def pump(source, target, began):
    try:
        while data := source.recv(65536):
            while began < stalled_at:
                time.sleep(1)
            target.sendall(data)
    except OSError:
        pass
    while began < stalled_at:
        time.sleep(1)
    for end in (source, target):
        end.close()


def serve(client):
    began = time.monotonic()
    server = socket.create_connection(upstream)
    for ends in ((client, server), (server, client)):
        threading.Thread(target=pump, args=(*ends, began), daemon=True).start()


signal.signal(signal.SIGUSR1, stall)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    serve(listener.accept()[0])
