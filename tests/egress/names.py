"""A name server for tests: NAMES is a file of JSON, {"name": [[type, seconds, value], ...]}, read anew for each question.
Every question is written to LOG: its name, its type and its length. A, AAAA and CNAME are known; all else is not there."""
import json, socket, socketserver, struct, sys, threading

NAMES, LOG = sys.argv[1:]
KINDS = {"A": 1, "CNAME": 5, "AAAA": 28}

def labels(name):
    return b"".join(bytes([len(part)]) + part.encode("latin1") for part in name.split(".")) + b"\0"

def value(kind, text):
    if kind == "CNAME":
        return labels(text)
    return socket.inet_pton(socket.AF_INET if kind == "A" else socket.AF_INET6, text)

def answer(question, limit):
    place, parts = 12, []
    while question[place]:
        parts.append(question[place + 1 : place + 1 + question[place]].decode("latin1"))
        place += 1 + question[place]
    name, kind, end = ".".join(parts), struct.unpack(">H", question[place + 1 : place + 3])[0], place + 5
    with open(LOG, "a") as log:
        log.write(f"{name} {kind} {len(question)}\n")
    known, records, asked = json.load(open(NAMES)), [], name
    while asked in known:
        for record, seconds, text in known[asked]:
            if KINDS[record] in (kind, 5):
                records.append(labels(asked) + struct.pack(">HHI", KINDS[record], 1, seconds))
                records[-1] += struct.pack(">H", len(value(record, text))) + value(record, text)
        aliases = [text for record, _, text in known[asked] if record == "CNAME"]
        asked = aliases[0] if aliases else None
    flags = 0x8180 | (0 if name in known else 3)
    body = question[12:end] + b"".join(records)
    if 12 + len(body) > limit:
        flags, records, body = flags | 0x200, [], question[12:end]
    return question[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0) + body

class Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        size = struct.unpack(">H", self.request.recv(2, socket.MSG_WAITALL))[0]
        said = answer(self.request.recv(size, socket.MSG_WAITALL), 65535)
        self.request.sendall(struct.pack(">H", len(said)) + said)

class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(answer(self.request[0], 1232), self.client_address)

socketserver.ThreadingTCPServer.allow_reuse_address = True
tcp = socketserver.ThreadingTCPServer(("0.0.0.0", 53), Tcp)
udp = socketserver.ThreadingUDPServer(("0.0.0.0", 53), Udp)
threading.Thread(target=tcp.serve_forever, daemon=True).start()
print("ready", flush=True)
udp.serve_forever()
