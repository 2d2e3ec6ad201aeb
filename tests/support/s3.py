"""A real S3 server for a test (tests/s3/fixture), and a proxy before it that plays tricks."""
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import urllib.parse

import pytest

from roost import TOP, Daemon, free_port, wait_for

FIXTURE = TOP / "tests/s3/fixture"
ACCESS_KEY, SECRET_KEY = "AKIAROOSTTEST", "roost-test-secret"


class S3Server:
    """`name`: versitygw or moto; with `tls` on https, by a certificate that `ca` holds; `host`: an address of this machine (versitygw).
    Use as a context manager."""

    def __init__(self, name, tls=False, host="127.0.0.1"):
        self.name, self.tls, self.host, self.port = name, tls, host, free_port()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="roost-s3-"))
        self.bucket = "backups"
        self.ca = self.directory / "ca.pem"

    @property
    def endpoint(self):
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def __enter__(self):
        if subprocess.run([FIXTURE, "built"]).returncode:
            pytest.skip("the S3 servers are not built here: ./dev test contract builds them where Go is")
        self.programs = pathlib.Path(subprocess.run([FIXTURE, "programs"], check=True, capture_output=True, text=True).stdout.strip())
        if self.tls:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                            f"/CN={self.host}", "-addext", f"subjectAltName=IP:{self.host}", "-keyout", self.directory / "key.pem", "-out", self.ca],
                           check=True, capture_output=True)
        self.start()
        self.ask(f"client.create_bucket(Bucket={self.bucket!r})")
        return self

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self):
        certificate = [self.ca, self.directory / "key.pem"] if self.tls else []
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen([FIXTURE, self.name, self.directory / "store", str(self.port), *certificate], stdout=log, stderr=log,
                                            env={**os.environ, "ROOST_S3_HOST": self.host})

        def listens():
            with socket.socket() as s:
                return s.connect_ex((self.host, self.port)) == 0
        wait_for(listens, 60, self.name)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ask(self, code, keys=(ACCESS_KEY, SECRET_KEY), service="s3"):
        """Runs Python with a boto3 `client`, which is no work of ours, and answers what it prints. `keys`: id, secret and token."""
        program = ("import boto3, botocore, json, sys; client = boto3.client(%r, endpoint_url=%r, region_name='us-east-1', verify=%r, **dict(zip("
                   "('aws_access_key_id', 'aws_secret_access_key', 'aws_session_token'), %r)))\n%s"
                   ) % (service, self.endpoint, str(self.ca) if self.tls else None, tuple(keys), code)
        done = subprocess.run([self.programs / "moto/bin/python", "-c", program], capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def make_user(self, keys, policy):
        """versitygw: a user with these keys, who may do with the bucket what the statements of `policy` allow."""
        trust = ["--allow-insecure"] if self.tls else []
        subprocess.run([self.programs / "versitygw", "admin", "--access", ACCESS_KEY, "--secret", SECRET_KEY, "--endpoint-url", self.endpoint, *trust,
                        "create-user", "--access", keys[0], "--secret", keys[1], "--role", "user"], check=True, capture_output=True)
        for statement in policy["Statement"]:
            statement["Principal"] = {"AWS": [keys[0]]}
        self.ask(f"client.put_bucket_policy(Bucket={self.bucket!r}, Policy={json.dumps(policy)!r})")

    def what_keys_may(self, keys, *tries):
        """Of calls of the client, {call: whether it was allowed}; a refusal other than AccessDenied is an error."""
        program = "may = {}\n"
        for one in tries:
            program += (f"try: client.{one}; may[{one!r}] = True\nexcept botocore.exceptions.ClientError as error:\n"
                        "    assert error.response['Error']['Code'] in ('AccessDenied', '403'), error\n"
                        f"    may[{one!r}] = False\n")
        return json.loads(self.ask(program + "print(json.dumps(may))", keys))

    def names(self, keys=(ACCESS_KEY, SECRET_KEY)):
        return self.ask(f"print(*(o['Key'] for o in client.list_objects_v2(Bucket={self.bucket!r}).get('Contents', [])))", keys).split()

    def fetch(self, key, path):
        self.ask(f"client.download_file({self.bucket!r}, {key!r}, {str(path)!r})")

    def config(self, endpoint=None):
        config = {"bucket": self.bucket, "endpoint": endpoint or self.endpoint, "stale_after_s": 0, "attempts": 2, "backoff_ms": 20}
        return {**config, "ca_file": str(self.ca)} if self.tls else config


class S3Daemon(Daemon):
    """roostd with its archives in `server`; `endpoint`: another address of it; `config`, `secrets`: more of the plugin's."""

    def __init__(self, build, server, overrides=None, endpoint=None, config=None, secrets=None):
        secrets = {"access_key_id": {"value": ACCESS_KEY}, "secret_access_key": {"env": "TEST_S3_SECRET"}, **(secrets or {})}
        config = {**server.config(endpoint), **(config or {})}
        super().__init__(build, {"ROOST_BACKUP__PLUGIN": "backup-s3", "ROOST_BACKUP__CONFIG": json.dumps(config),
                                 "ROOST_BACKUP__SECRETS": json.dumps(secrets), "TEST_S3_SECRET": SECRET_KEY, **(overrides or {})})
        del self.environment["ROOST_BACKUP__CONFIG__PATH"]


def documented_policy(heading, bucket, prefix):
    """The policy that docs/backups-s3.md gives under that heading, for this bucket."""
    text = (TOP / "docs/backups-s3.md").read_text().split(f"{heading}\n", 1)[1]
    block = re.search(r"```json\n(.*?)```", text, re.S)[1]
    return json.loads(block.replace("example-roost-backups/roost/production/", f"{bucket}/{prefix}").replace("example-roost-backups", bucket))


class Judge:
    """Makes moto a server that knows users and judges each request: the one user with all rights, whose keys are `keys`, and the role `ROLE`.
    As a token service it stands before moto, which knows no policies of a session: it makes the policy that is asked for the role's own, so that moto judges
    by that very document. `asked`: (form, keys) of each AssumeRole. Use as a context manager."""

    ROLE = "arn:aws:iam::123456789012:role/tasks"

    def __init__(self, server):
        self.server, self.asked = server, []
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
        all_rights = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        self.keys = json.loads(server.ask(f"""
client.create_role(RoleName='tasks', AssumeRolePolicyDocument={json.dumps(trust)!r})
client.create_user(UserName='roostd')
client.put_user_policy(UserName='roostd', PolicyName='all', PolicyDocument={json.dumps(all_rights)!r})
key = client.create_access_key(UserName='roostd')['AccessKey']
print(json.dumps([key['AccessKeyId'], key['SecretAccessKey']]))""", service="iam"))
        self.moto("/moto-api/reset-auth", b"0", {"Content-Type": "application/octet-stream"})  # from now on it judges
        judge = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                form = dict(urllib.parse.parse_qsl(body.decode()))
                judge.server.ask(f"client.put_role_policy(RoleName='tasks', PolicyName='session', PolicyDocument={form['Policy']!r})", judge.keys, "iam")
                status, answer = judge.moto("/", body, dict(self.headers.items()))
                judge.asked.append((form, re.findall(r"<(?:AccessKeyId|SecretAccessKey|SessionToken)>(.*?)<", answer.decode())))
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True

    def moto(self, path, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.http.server_address[1]}"


class TrickyProxy:
    """Passes requests on to a server on `port`. While `down` it answers 503, which `refused` counts; while `spoils`, one bit of each
    range that is read is another, which `spoiled` counts. Of what is absent the key `hides_from` is told 403, as AWS and MinIO tell keys without
    s3:ListBucket, which `hidden` counts."""

    def __init__(self, port):
        self.down, self.refused, self.spoils, self.spoiled = False, 0, False, 0
        self.hides_from, self.hidden = None, 0
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if proxy.down:
                    proxy.refused += 1
                    self.send_response(503)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                upstream.request(self.command, self.path, body=body, headers=dict(self.headers.items()))
                answer = upstream.getresponse()
                data = bytearray(answer.read())
                if proxy.spoils and answer.status == 206 and data:
                    data[len(data) // 2] ^= 1
                    proxy.spoiled += 1
                hides = answer.status == 404 and f"Credential={proxy.hides_from}/" in self.headers.get("Authorization", "")
                proxy.hidden += hides
                self.send_response(403 if hides else answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"
