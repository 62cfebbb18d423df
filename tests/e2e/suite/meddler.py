"""Stands between the scaler and the API server, and meddles: a hook sees each request first and may
do something, wait, or answer in the server's place."""

import base64
import http.client
import http.server
import json
import ssl
import threading
import urllib.parse

from scaler import kubectl


class Meddler:
    def __init__(self):
        view = lambda path: kubectl(
            "config", "view", "--raw", "--minify", "--flatten", "--output", f"jsonpath={path}"
        )
        target = urllib.parse.urlsplit(view("{.clusters[0].cluster.server}"))
        authority = view("{.clusters[0].cluster.certificate-authority-data}")
        authority = base64.b64decode(authority).decode()
        context = ssl.create_default_context(cadata=authority)
        self.hook = None
        meddler = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = meddler.hook and meddler.hook(self.command, self.path)
                if answer:
                    code, message = answer
                    status = {
                        "kind": "Status",
                        "apiVersion": "v1",
                        "status": "Failure",
                        "code": code,
                        "message": message,
                    }
                    return self.reply(code, "application/json", [json.dumps(status).encode()])
                upstream = http.client.HTTPSConnection(
                    target.hostname, target.port, context=context, timeout=600
                )
                try:
                    headers = {
                        key: value
                        for key, value in self.headers.items()
                        if key.lower() not in ("host", "accept-encoding")
                    }
                    upstream.request(self.command, self.path, body or None, headers)
                    response = upstream.getresponse()
                    self.reply(
                        response.status,
                        response.headers["Content-Type"],
                        iter(lambda: response.read1(65536), b""),
                    )
                except OSError:
                    self.close_connection = True
                finally:
                    upstream.close()

            def reply(self, code, content_type, chunks):
                self.send_response(code)
                self.send_header("Content-Type", content_type)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for chunk in chunks:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")

            do_GET = do_PATCH = do_POST = pass_on

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # the scaler hung up

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def before(self, method, ending, act):
        """Calls `act` before the first such request; what it gives is the answer."""

        def hook(this, path):
            if this == method and path.split("?")[0].endswith(ending):
                self.hook = None
                return act()

        self.hook = hook

    def close(self):
        self.server.shutdown()
        self.server.server_close()
