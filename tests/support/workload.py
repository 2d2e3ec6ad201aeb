"""The tests' stand-in for VS Code: a tiny HTTP server on a unix socket that reads, writes and runs things in the workspace."""
import http.server, json, os, pathlib, socketserver, subprocess, sys, urllib.parse

path, root = sys.argv[1], pathlib.Path(sys.argv[2])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def target(self):
        split = urllib.parse.urlsplit(self.path)
        return split.path, dict(urllib.parse.parse_qsl(split.query))

    def do_GET(self):
        where, query = self.target()
        if where == "/healthz":
            self.answer(200, b'{"status":"alive","lastHeartbeat":0}')
        elif where == "/read":
            try:
                self.answer(200, (root / query["path"]).read_bytes())
            except OSError as e:
                self.answer(404, str(e).encode())
        elif where == "/echo":
            self.answer(200, json.dumps(self.headers.items()).encode())
        elif where == "/pid":
            self.answer(200, str(os.getpid()).encode())
        else:
            self.answer(200, b"<h1>workspace</h1>")

    def do_POST(self):
        where, query = self.target()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if where == "/write":
            target = root / query["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(body)
            self.answer(200, b"")
        elif where == "/exec":
            done = subprocess.run(json.loads(body), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, cwd=root)
            self.answer(200, json.dumps({"code": done.returncode, "output": done.stdout.decode(errors="replace")}).encode())
        else:
            self.answer(404, b"")

    def log_message(self, *arguments):
        pass

    def address_string(self):
        return "unix"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


if os.path.exists(path):
    os.unlink(path)
Server(path, Handler).serve_forever()
