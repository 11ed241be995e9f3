"""Asks a name server, in whatever network it is started in, and prints what it has measured as JSON.

    dns_client.py NAME QUESTIONS SECONDS
"""

import json
import select
import socket
import struct
import sys
import time

name, questions, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
# So many under way at once: no more than a socket holds.
AHEAD = 32


def question(number: int) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack(">HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)


def check(answer: bytes) -> None:
    flags, count = struct.unpack(">H", answer[2:4])[0], struct.unpack(">H", answer[6:8])[0]
    if flags & 0xF or count == 0:
        raise SystemExit(f"dns_client: {name}: not answered: {answer.hex()}")


client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("127.0.0.11", 53))
client.settimeout(5)
times = []
for number in range(questions):
    asked = question(number)
    began = time.perf_counter()
    client.send(asked)
    answer = client.recv(512)
    times.append(time.perf_counter() - began)
    check(answer)
times.sort()

asked = question(7)
client.setblocking(False)
poll = select.poll()
poll.register(client, select.POLLIN)
answered, ahead = 0, 0
began = time.perf_counter()
while time.perf_counter() - began < seconds:
    while ahead < AHEAD:
        client.send(asked)
        ahead += 1
    if not poll.poll(1000):
        ahead = 0
        continue
    try:
        while True:
            check(client.recv(512))
            answered += 1
            ahead -= 1
    except BlockingIOError:
        pass
took = time.perf_counter() - began
print(json.dumps({"p50_us": times[len(times) // 2] * 1e6, "p99_us": times[len(times) * 99 // 100] * 1e6, "rate": answered / took}))
