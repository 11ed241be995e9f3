"""A registry for tests: serves an OCI layout under every repository name, with the faults that are asked for.

    registry.py LAYOUT [token] [break] [norange] [rot] [notfound]

token    wants a bearer token, which only user "tester", password "secret" or anybody (with `anonymous`) gets
break    ends every blob transfer after half of the bytes that were left
norange  knows no ranges
rot      turns the last byte of every blob
Prints the port it listens on; logs requests to LAYOUT.log.
"""

import base64
import http.server
import json
import os
import sys

layout, faults = sys.argv[1], sys.argv[2:]
index = json.load(open(f"{layout}/index.json"))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, form, *args):
        with open(f"{layout}.log", "a") as log:
            log.write(form % args + f" range={self.headers.get('Range')}\n")

    def answer(self, code, body=b"", headers=None):
        self.send_response(code)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        host = self.headers["Host"]
        path = self.path.split("?")[0]
        if path == "/token":
            given = self.headers.get("Authorization", "")
            good = "Basic " + base64.b64encode(b"tester:secret").decode()
            if "anonymous" not in faults and given != good:
                return self.answer(401)
            return self.answer(200, json.dumps({"token": "abc"}).encode())
        if "token" in faults and self.headers.get("Authorization") != "Bearer abc":
            challenge = f'Bearer realm="http://{host}/token",service="test"'
            return self.answer(401, b"", {"WWW-Authenticate": challenge})
        if path == "/v2/":
            return self.answer(200, b"{}")
        kind, name = path.split("/")[-2:]
        if kind == "manifests" and not name.startswith("sha256:"):
            found = [m for m in index["manifests"] if (m.get("annotations") or {}).get("org.opencontainers.image.ref.name") == name]
            if not found:
                error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
                return self.answer(404, json.dumps(error).encode())
            name = found[0]["digest"]
        file = f"{layout}/blobs/{name.replace(':', '/')}"
        if not os.path.exists(file):
            return self.answer(404)
        body = open(file, "rb").read()
        if kind == "manifests":
            media = json.loads(body).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
            return self.answer(200, body, {"Content-Type": media, "Docker-Content-Digest": name})
        self.blob(body)

    def blob(self, body):
        code, start = 200, 0
        if self.headers.get("Range") and "norange" not in faults:
            code, start = 206, int(self.headers["Range"][len("bytes="):].split("-")[0])
        if "rot" in faults:
            body = body[:-1] + bytes([body[-1] ^ 1])
        body = body[start:]
        if "break" in faults and len(body) > 4096:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) * 3 // 4])
            self.close_connection = True
            return
        self.answer(code, body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
