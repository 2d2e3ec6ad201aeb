#!/usr/bin/env python3
"""fault_proxy.py UPSTREAM CERT KEY CA RULES: an HTTPS proxy before an API server that does what RULES says, on a free port of
127.0.0.1, which it prints. RULES is a file, read at each request: a JSON list of {"match": substring of "METHOD /path", "do": ...,
"times": n}; the first rule that matches and has times left is obeyed, and the request is noted in RULES.used:
  {"do": "answer", "status": 429, "retry_after": 1}   answers that, with a Status (and its "details")
  {"do": "lose"}                                      passes the request on, then hangs up without the answer
  {"do": "cut"}                                       hangs up without passing it on
  {"do": "hang"}                                      neither passes it on nor answers
  {"do": "hold"}                                      passes it on once RULES.release is there, and notes the status in RULES.held
  {"do": "late"}                                      notes the answer's status in RULES.held, and passes it back once RULES.release is there
  {"do": "event", "body": {...}}                      a watch: 200 and this one event, then the end
  {"do": "token", "token": "x"}                       401 unless the request bears that token; nothing else is passed on
  {"do": "kill", "pid": 1, "when": "before"}          kill -9 of that process before or after the request is passed on
With "before": 7 a rule holds only for watches that go on from an older resourceVersion.
"""
import http.client, http.server, json, os, re, signal, socketserver, ssl, sys, threading, time, urllib.parse

upstream, cert, key, ca, rules_file = sys.argv[1:]
address = urllib.parse.urlsplit(upstream)
used, lock = {}, threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def rule(self):
        line = f"{self.command} {self.path}"
        try:
            rules = json.load(open(rules_file))
        except (OSError, ValueError):
            return {}
        with lock:
            for rule in rules:
                name = json.dumps(rule, sort_keys=True)
                if rule["match"] in line and used.get(name, 0) < rule.get("times", 1 << 30):
                    if rule["do"] == "token" and self.headers["Authorization"] == "Bearer " + rule["token"]:
                        continue
                    if "before" in rule and int(re.search(r"resourceVersion=(\d+)", self.path)[1]) >= rule["before"]:
                        continue
                    used[name] = used.get(name, 0) + 1
                    with open(rules_file + ".used", "a") as log:
                        log.write(line + "\n")
                    return rule
        return {}

    def answer(self, status, body, headers=(), end=b""):
        data = json.dumps(body).encode() + end
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def wait_for_release(self):
        while not os.path.exists(rules_file + ".release"):
            time.sleep(0.02)

    def handle_one(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rule = self.rule()
        do = rule.get("do")
        if do in ("answer", "token"):
            status = 401 if do == "token" else rule["status"]
            headers = [("Retry-After", str(rule["retry_after"]))] if "retry_after" in rule else []
            said = {"kind": "Status", "reason": rule.get("reason", ""), "message": "made up", "code": status, "details": rule.get("details", {})}
            return self.answer(status, said, headers)
        if do == "event":
            return self.answer(200, rule["body"], end=b"\n")
        if do == "hang":
            time.sleep(60)
        if do == "hold":
            self.wait_for_release()
        if do == "kill" and rule["when"] == "before":
            os.kill(rule["pid"], signal.SIGKILL)
            do = "cut"
        if do in ("cut", "hang"):
            self.close_connection = True
            return self.connection.close()
        connection = http.client.HTTPSConnection(address.hostname, address.port, context=ssl.create_default_context(cafile=ca))
        headers = {n: v for n, v in self.headers.items() if n.lower() not in ("host", "connection", "content-length", "accept-encoding")}
        token = open(rules_file + ".token").read().strip()
        headers["Authorization"] = "Bearer " + token
        connection.request(self.command, self.path, body or None, headers)
        reply = connection.getresponse()
        if do in ("hold", "late"):
            with open(rules_file + ".held", "a") as log:
                log.write(f"{reply.status}\n")
        if do == "late":
            self.wait_for_release()
        if do in ("lose", "kill"):
            reply.read()
            if do == "kill":
                os.kill(rule["pid"], signal.SIGKILL)
            self.close_connection = True
            return self.connection.close()
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.headers.get("Content-Type", "application/json"))
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while data := reply.read1(65536):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_one


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass

    def finish_request(self, request, client_address):  # TLS in the connection's own thread
        super().finish_request(context.wrap_socket(request, server_side=True), client_address)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
