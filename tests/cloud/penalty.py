"""A stand-in for the PerSourcePenalties of OpenSSH 9.8 and later.

A small relay in front of a server's sshd: after a connection that tried to
log in and failed, connections from the same source are closed without a
banner for some seconds; one that never tried to log in costs one second.
"""
import re
import socket
import threading
import time

ATTEMPT = 1000          # bytes of a client that went past the key exchange


class Front:
    def __init__(self, address, port, behind, log, seconds):
        self._behind, self._log, self._seconds = behind, log, seconds
        self._until = {}        # source -> end of its penalty
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sock.bind((address, port))
        self._sock.listen(128)
        self._open = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()

    def close(self):
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._sock.close()
        with self._lock:
            for sock in self._open:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _run(self):
        while True:
            try:
                client, peer = self._sock.accept()
            except OSError:
                return
            if self._until.get(peer[0], 0) > time.monotonic():
                client.close()
                continue
            threading.Thread(target=self._serve, daemon=True,
                             args=(client, peer[0])).start()

    def _serve(self, client, source):
        server = socket.socket()
        with self._lock:
            self._open |= {client, server}
        try:
            server.connect(self._behind)
            port = server.getsockname()[1]
            back = threading.Thread(target=_copy, args=(server, client),
                                    daemon=True)
            back.start()
            sent = _copy(client, server)
            back.join()
            if not self._logged_in(port):
                cost = self._seconds if sent > ATTEMPT else 1
                self._until[source] = max(self._until.get(source, 0),
                                          time.monotonic() + cost)
        except OSError:
            pass
        finally:
            with self._lock:
                self._open -= {client, server}
            client.close()
            server.close()

    def _logged_in(self, port):
        with open(self._log, encoding='utf-8', errors='replace') as f:
            return re.search(r'Accepted .* port %d ssh2' % port, f.read())


def _copy(source, sink):
    total = 0
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            total += len(data)
            sink.sendall(data)
    except OSError:
        pass
    try:
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    return total
