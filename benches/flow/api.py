"""The API server without kubectl between, so that its answers and its watches can be timed."""
import base64, http.client, json, socket, ssl, sys, tempfile, threading, time
from urllib.parse import urlencode, urlsplit

from lib import NAMESPACE, fail, kubectl

JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
FLOWS = f"/apis/baton.dev/v1alpha1/namespaces/{NAMESPACE}/jobflows"


class Api:
    """A client; each thread has a connection of its own."""

    def __init__(self):
        config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.address = urlsplit(cluster["server"]).netloc
        authority = cluster.get("certificate-authority-data")
        self.tls = ssl.create_default_context(cadata=base64.b64decode(authority).decode() if authority else None)
        self.headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        if "client-certificate-data" in user:
            with tempfile.NamedTemporaryFile() as file:
                for key in ("client-certificate-data", "client-key-data"):
                    file.write(base64.b64decode(user[key]) + b"\n")
                file.flush()
                self.tls.load_cert_chain(file.name)
        self.own = threading.local()

    def connect(self):
        return http.client.HTTPSConnection(self.address, context=self.tls, timeout=600)

    def call(self, method, path, body=None, content="application/json"):
        """An answer's object, or None where the server says 404 or 409."""
        if not hasattr(self.own, "connection"):
            self.own.connection = self.connect()
        text = None if body is None else json.dumps(body)
        self.own.connection.request(method, path, text, self.headers | {"Content-Type": content})
        answer = self.own.connection.getresponse()
        said = answer.read()
        if answer.status in (404, 409):
            return None
        if answer.status >= 400:
            fail(f"{method} {path}: {answer.status} {said[:500].decode()}")
        return json.loads(said)

    def create(self, path, body):
        return self.call("POST", path, body)

    def patch(self, path, body):
        return self.call("PATCH", path, body, "application/merge-patch+json")


class Follow:
    """Gives each change of a list's objects, from now on, to `see(type, object, when)` in a thread of its own."""

    def __init__(self, api, path, see):
        self.api, self.path, self.see, self.closed = api, path, see, False
        self.version = api.call("GET", f"{path}?limit=1")["metadata"]["resourceVersion"]
        self.begin()
        threading.Thread(target=self.run, daemon=True).start()

    def begin(self):
        connection = self.api.connect()
        connection.timeout = None
        connection.connect()
        self.socket = connection.sock
        query = urlencode({"watch": 1, "resourceVersion": self.version, "timeoutSeconds": 7200})
        connection.request("GET", f"{self.path}?{query}", headers=self.api.headers)
        self.lines = connection.getresponse()

    def run(self):
        # The server ends a watch that reads too slowly; it goes on where it was.
        while not self.closed:
            try:
                self.read()
                if not self.closed:
                    self.begin()
            except (OSError, ValueError, http.client.HTTPException) as e:
                if not self.closed:
                    print(f"  the watch of {self.path} broke: {e!r}", file=sys.stderr, flush=True)
                    return

    def read(self):
        for line in self.lines:
            when = time.monotonic()
            event = json.loads(line)
            if self.closed:
                return
            if event["type"] == "ERROR":
                raise ValueError(event["object"])
            self.version = event["object"]["metadata"]["resourceVersion"]
            self.see(event["type"], event["object"], when)

    def close(self):
        self.closed = True
        self.socket.shutdown(socket.SHUT_RDWR)
