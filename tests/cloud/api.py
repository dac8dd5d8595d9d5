"""The HTTP server: one port, all services, and the faults of requests."""
import hmac
import json
import os
import re
import secrets
import select
import shutil
import socket
import struct
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import control
import glance
import guests
import keystone
import neutron
import nova
from state import ApiError

SERVICES = (keystone, nova, glance, neutron)
NEWEST = (2, 96)
HUNG_LOOK = 0.25        # how often a hung request looks whether to go on


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    allow_reuse_address = True

    def __init__(self, cloud):
        self.cloud = cloud
        self.log = os.open(os.path.join(cloud.dir, 'requests.log'),
                           os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.routes = [
            (service, method.split('|'),
             re.compile(service.PREFIX + pattern + r'(?:\.json)?/?'), func)
            for service in SERVICES
            for method, pattern, func in service.ROUTES]
        super().__init__(('127.0.0.1', 0), Handler)

    def note(self, method, target, status):
        stamp = time.strftime('%Y-%m-%dT%H:%M:%S') + \
            '.%03d' % (time.time() % 1 * 1000)
        os.write(self.log, ('%s %s %s %s\n' % (stamp, method, target, status))
                 .encode('utf-8', 'replace'))

    def shutdown_request(self, request):
        """Only closes: a FIN before would spoil the reset, see _reset."""
        self.close_request(request)

    def handle_error(self, request, client_address):
        """Clients that went away are no news."""

    def service(self, path):
        for service in SERVICES:
            if (path + '/').startswith(service.PREFIX + '/'):
                return service
        return None

    def answer(self, req):
        """(status, body, headers) of a request; never raises ApiError."""
        service = self.service(req.path)
        if service is None:
            return 404, {'error': 'no service here'}, {}
        try:
            result = self._dispatch(service, req)
            status, body = result[:2]
            headers = result[2] if len(result) > 2 else {}
        except ApiError as e:
            status, body, headers = e.status, service.error(
                e.status, e.message), e.headers
        except (KeyError, TypeError, AttributeError, ValueError) as e:
            status, headers = 400, {}
            body = service.error(400, 'Malformed request: %r' % e)
        if service is nova:
            version = '%d.%d' % req.microversion
            headers = dict(headers, **{
                'X-OpenStack-Nova-API-Version': version,
                'OpenStack-API-Version': 'compute ' + version,
                'Vary': 'OpenStack-API-Version, '
                        'X-OpenStack-Nova-API-Version'})
        return status, body, headers

    def _dispatch(self, service, req):
        if service is nova:
            req.microversion = microversion(req.headers)
        bare = req.path.rstrip('/')
        if bare not in service.OPEN and not (
                req.method == 'POST' and bare == '/identity/v3/auth/tokens'):
            token = req.headers.get('X-Auth-Token', '')
            if not keystone.alive(self.cloud, token):
                raise ApiError(401, keystone.DENIED, {
                    'WWW-Authenticate': 'Keystone uri="%s/identity"'
                                        % self.cloud.url})
        known = False
        for owner, methods, pattern, func in self.routes:
            match = owner is service and pattern.fullmatch(req.path)
            if not match:
                continue
            known = True
            if req.method in methods:
                req.prepare(func)
                with self.cloud.lock:
                    return func(self.cloud, req,
                                *(unquote(g) for g in match.groups()))
        raise ApiError(405 if known else 404,
                       'The resource could not be found.')


def microversion(headers):
    """The microversion asked for; nova's 2.1 when none is."""
    asked = headers.get('X-OpenStack-Nova-API-Version', '')
    for part in headers.get('OpenStack-API-Version', '').split(','):
        if part.strip().startswith('compute '):
            asked = part.strip()[8:]
    if not asked:
        return 2, 1
    if asked == 'latest':
        return NEWEST
    match = re.fullmatch(r'(\d+)\.(\d+)', asked)
    if not match:
        raise ApiError(400, 'API Version String %s is of invalid format.'
                       % asked)
    version = int(match[1]), int(match[2])
    if not (2, 1) <= version <= NEWEST:
        raise ApiError(406, 'Version %s is not supported by the API. Minimum '
                       'is 2.1 and maximum is 2.96.' % asked)
    return version


class Request:
    def __init__(self, method, target, headers, raw):
        self.method, self.target, self.headers = method, target, headers
        parts = urlsplit(target)
        self.path, self.query_text = parts.path, parts.query
        self.query = parse_qs(parts.query, keep_blank_values=True)
        self.microversion = (2, 1)
        try:
            self.body = json.loads(raw) if raw else None
        except ValueError:
            self.body = None
        self._key = None

    def prepare(self, func):
        """Slow work that must not be done under the lock: a new key."""
        if func is not nova.new_keypair or \
                (self.body or {}).get('keypair', {}).get('public_key'):
            return
        folder = tempfile.mkdtemp()
        try:
            path = os.path.join(folder, 'key')
            guests.keygen(path, 'Generated-by-Nova')
            with open(path, encoding='utf-8') as secret, \
                    open(path + '.pub', encoding='utf-8') as public:
                self._key = secret.read(), public.read()
        finally:
            shutil.rmtree(folder)

    def fresh_key(self):
        return self._key

    def server_name(self, cloud):
        """The name of the server that the request is about, or ''; of a
        floating IP that is asked for the description."""
        match = re.search(r'/servers/([0-9a-f-]{36})', self.path)
        with cloud.lock:
            server = cloud.servers.get(match[1]) if match else None
        if server:
            return server.name
        body = self.body if isinstance(self.body, dict) else {}
        wish = body.get('server') or body.get('floatingip')
        key = 'name' if 'server' in body else 'description'
        name = wish.get(key) if isinstance(wish, dict) else ''
        return name if isinstance(name, str) else ''


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    wbufsize = 65536

    def log_message(self, *args):
        """requests.log has it already."""

    def _serve(self):
        raw = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        cloud = self.server.cloud
        if self.path.startswith('/control/'):
            self._control(cloud, raw)
            return
        req = Request(self.command, self.path, self.headers, raw)
        rule = cloud.knobs.request(req.method, req.path, req.query_text,
                                   req.server_name(cloud))
        if rule:
            self._fault(cloud, req, rule)
        else:
            self._answer(req, *self.server.answer(req))

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _serve

    def _control(self, cloud, raw):
        given = self.headers.get('X-Control', '')
        if not hmac.compare_digest(given, cloud.control):
            self._send(403, b'', {})
            return
        status, text = control.perform(cloud, self.path[9:], json.loads(raw))
        self._send(status, text.encode(), {'Content-Type': 'text/plain'})

    def _fault(self, cloud, req, rule):
        """Does to a request what its rule says."""
        if rule.get('delay'):
            cloud.stopping.wait(rule['delay'])
        hang, reset = rule.get('hang'), rule.get('reset')
        if hang:
            if hang == 'after':
                self.server.answer(req)
            self.server.note(req.method, req.target, 'hang')
            self._hang(cloud)
        elif reset:
            if reset == 'after':
                self.server.answer(req)
            self.server.note(req.method, req.target, 'reset')
            self._reset()
        elif 'then_status' in rule:
            if rule.get('late'):
                cloud.timers.after(rule['late'], self.server.answer, req)
            else:
                self.server.answer(req)
            self._refuse(req, rule, rule['then_status'])
        elif 'status' in rule:
            self._refuse(req, rule, rule['status'])
        else:
            self._answer(req, *self.server.answer(req))

    def _refuse(self, req, rule, status):
        service = self.server.service(req.path) or nova
        message = rule.get('message', 'The server is not well (simulated).')
        if rule.get('html'):
            body = '<html><body><h1>%d Error</h1>\n%s\n</body></html>\n' % (
                status, message)
        else:
            body = service.error(status, message)
        self._answer(req, status, body, dict(rule.get('headers', {})))

    def _hang(self, cloud):
        """Never answers; leaves when the client does, or the cloud ends."""
        while not cloud.stopping.is_set():
            if select.select([self.connection], [], [], HUNG_LOOK)[0]:
                try:
                    if not self.connection.recv(1):
                        break
                except OSError:
                    break
        self.close_connection = True

    def _reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                   struct.pack('ii', 1, 0))
        self.close_connection = True
        self.rfile.close()
        self.connection.close()

    def _answer(self, req, status, body, headers):
        self.server.note(req.method, req.target, status)
        headers = dict(headers)
        headers['X-Openstack-Request-Id'] = 'req-' + secrets.token_hex(16)
        if body is None:
            data = b''
        elif isinstance(body, str):
            data = body.encode()
            headers['Content-Type'] = 'text/html; charset=UTF-8'
        else:
            data = json.dumps(body).encode()
            headers['Content-Type'] = 'application/json'
        self._send(status, data, headers)

    def _send(self, status, data, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(data)
        self.wfile.flush()
