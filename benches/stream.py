#!/usr/bin/env python3
"""TCP streams side by side. `stream.py serve PORT` reads whatever comes; `stream.py send TURNS WAY…` opens one connection by
each way, NETNS,ADDRESS,PORT, sends so many slices by each of them in turns, and prints the Gbit/s of each slice.

A slice lasts some ten milliseconds, and who sends it waits until it has been read: so a machine that becomes faster and
slower, as one does that others live on, does so for all ways alike."""

import ctypes
import json
import os
import socket
import sys
import threading
import time

SLICE = 16 << 20
PART = 128 << 10


def serve(port: int) -> None:
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        threading.Thread(target=read, args=(listener.accept()[0],), daemon=True).start()


def read(stream: socket.socket) -> None:
    buffer, left = bytearray(PART), SLICE
    while count := stream.recv_into(buffer, min(PART, left)):
        left -= count
        if left == 0:
            stream.sendall(b".")
            left = SLICE


def send(turns: int, ways: list[str]) -> None:
    streams = [connect(*way.split(",")) for way in ways]
    rates: list[list[float]] = [[] for _ in ways]
    for turn in range(turns + 20):
        for stream, own in zip(streams, rates):
            rate = one_slice(stream)
            # The first are for the window to grow.
            if turn >= 20:
                own.append(rate)
    print(json.dumps(rates))


def connect(netns: str, address: str, port: str) -> socket.socket:
    """A socket stays in the network namespace that it was made in."""
    with open(netns) as there:
        if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), netns)
    return socket.create_connection((address, int(port)), timeout=60)


def one_slice(stream: socket.socket) -> float:
    part = bytes(PART)
    began = time.perf_counter()
    for _ in range(SLICE // PART):
        stream.sendall(part)
    if not stream.recv(1):
        raise EOFError("who reads has gone")
    return SLICE * 8 / (time.perf_counter() - began) / 1e9


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    send(int(sys.argv[2]), sys.argv[3:])
