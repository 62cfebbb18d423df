"""The attacks: each a function of a port, bounded in count and time. They go to 127.0.0.1 alone."""

import contextlib
import itertools
import resource
import socket
import ssl
import struct
import threading
import time

HOST = "127.0.0.1"
GET = "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = (
    "POST /config HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    "Content-Length: {}\r\n\r\n"
)


def more_descriptors():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connect(port, buffer=None):
    """A connection, or None where none is to be had."""
    connection = socket.socket()
    connection.settimeout(3)
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    try:
        connection.connect((HOST, port))
    except OSError:
        connection.close()
        return None
    return connection


def send(connection, data):
    """Whether all of it could be sent."""
    try:
        connection.sendall(data)
        return True
    except OSError:
        return False


def read(connection):
    """What comes until the other side ends, or for three seconds."""
    count = 0
    with contextlib.suppress(OSError):
        while part := connection.recv(65536):
            count += len(part)
    return count


def opened(port, count, first=b"", buffer=None):
    connections, failed = [], 0
    while len(connections) < count and failed < 3:
        connection = connect(port, buffer)
        if connection is None:
            failed += 1
            continue
        if first:
            send(connection, first)
        connections.append(connection)
    return connections


def in_threads(count, work):
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def silent(port, seconds, count=1200):
    held = opened(port, count)
    time.sleep(seconds)
    return held


def slow_heads(port, seconds, count=1200):
    held = opened(port, count, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-A: ")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        held = [connection for connection in held if send(connection, b"a")]
        time.sleep(1)
    return held


def idle(port, seconds):
    held = opened(port, 9500, GET.format("/livez").encode())
    time.sleep(seconds)
    return held


def storm(port, seconds):
    """Connections that are opened, say nothing, and are left, as fast as it goes."""
    held = opened(port, 1200)
    end = time.monotonic() + seconds
    recent = []
    while time.monotonic() < end:
        connection = connect(port)
        if connection:
            recent.append(connection)
        if len(recent) > 500:
            recent.pop(0).close()
    return held + recent


def handshakes(port, seconds):
    """TLS that is begun: half a ClientHello."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    hello = outgoing.read()
    held = opened(port, 1200, hello[: len(hello) // 2])
    time.sleep(seconds)
    return held


def slow_bodies(port, seconds):
    held = opened(port, 300, POST.format(1_000_000).encode() + b"x" * 30_000)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        held = [connection for connection in held if send(connection, b"x" * 100)]
        time.sleep(1)
    return held


def large_bodies(port, seconds):
    """A megabyte of JSON each, which is costly to read: a list of lists."""
    body = b'{"a":[' + b",".join([b"[]"] * 340_000) + b"]}"
    request = POST.format(len(body)).encode() + body
    end = time.monotonic() + seconds

    def work(_):
        while time.monotonic() < end:
            connection = connect(port)
            if connection:
                send(connection, request)
                connection.settimeout(1)
                read(connection)
                connection.close()

    in_threads(40, work)
    return []


def almost_bodies(port, seconds):
    """A megabyte each, but for the last byte."""
    request = POST.format(1024 * 1024).encode() + b"x" * (1024 * 1024 - 1)
    held = opened(port, 250)
    for connection in held:
        connection.settimeout(0.2)
        send(connection, request)
    time.sleep(seconds)
    return held


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name, value):
    """A header field that is not indexed, its name by its number in the static table."""
    prefix = bytes([name]) if name < 15 else bytes([15, name - 15])
    return prefix + bytes([len(value)]) + value


def streams(port, seconds):
    """One HTTP/2 connection with as many streams as there may be, each a body that does not end."""
    connection = connect(port)
    window, stream_window = 65535, 65535
    settings = frame(4, 0, 0)
    send(connection, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
    head = b"\x83\x86" + literal(4, b"/config") + literal(1, b"localhost")
    head += literal(31, b"application/json")
    numbers = range(1, 2 * 400, 2)
    sent = dict.fromkeys(numbers, 0)
    begun, left, end = 0, b"", time.monotonic() + seconds
    connection.settimeout(0.05)
    while time.monotonic() < end:
        try:
            left += connection.recv(65536)
        except TimeoutError:
            pass
        except OSError:
            break
        while len(left) >= 9 and len(left) >= 9 + (size := int.from_bytes(left[:3])):
            kind, flags, stream = struct.unpack(">BBI", left[3:9])
            payload, left = left[9 : 9 + size], left[9 + size :]
            if kind == 4 and not flags:
                for at in range(0, size, 6):
                    name, value = struct.unpack(">HI", payload[at : at + 6])
                    if name == 4:
                        stream_window = value
                send(connection, frame(4, 1, 0))
            elif kind == 8:
                more = int.from_bytes(payload)
                if stream == 0:
                    window += more
                elif stream in sent:
                    sent[stream] -= more
            elif kind in (0, 1) and flags & 1 or kind == 3:
                sent.pop(stream, None)
        while begun < 200:
            if not send(connection, frame(1, 4, numbers[begun], head)):
                return [connection]
            begun += 1
        for stream in list(itertools.islice(sent, begun)):
            size = min(16384, window, stream_window - sent[stream])
            if size > 0 and send(connection, frame(0, 0, stream, b"x" * size)):
                window -= size
                sent[stream] += size
    return [connection]


def unread(port, seconds):
    """Answers that are asked for and not taken."""
    held = opened(port, 600, GET.format("/openapi.json").encode() * 60)
    time.sleep(seconds)
    return held


def unread_pages(port, seconds):
    """The same of one that is large and copied."""
    held = opened(port, 300, GET.format("/docs/swagger-ui-bundle.js").encode() * 3, buffer=4096)
    time.sleep(seconds)
    return held


def repeated(path, clients):
    def attack(port, seconds):
        end = time.monotonic() + seconds

        def work(_):
            while time.monotonic() < end:
                connection = connect(port)
                if connection:
                    connection.settimeout(20)
                    request = GET.format(path).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
                    send(connection, request.encode())
                    read(connection)
                    connection.close()

        in_threads(clients, work)
        return []

    return attack


def long_paths(length):
    def attack(port, seconds):
        path = "/scale/pod/default/" + "a" * length
        request = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}"
        end = time.monotonic() + seconds
        for _ in range(2000):
            if time.monotonic() > end:
                break
            connection = connect(port)
            if connection:
                send(connection, request.encode())
                with contextlib.suppress(OSError):
                    connection.recv(100)
                connection.close()
        return []

    return attack
