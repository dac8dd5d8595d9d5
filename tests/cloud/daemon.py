"""A cloud that runs: its files, its network, its end."""
import ipaddress
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import sys
import threading

import api
import guests
import procs
from state import Cloud, fingerprint

FILES = ('ready', 'pid', 'control', 'requests.log', 'openrc', 'openrc-app')


def _write(cloud, name, text, mode=0o600):
    path = os.path.join(cloud.dir, name)
    temp = path + '.new'
    with open(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode),
              'w', encoding='utf-8') as f:
        f.write(text)
    os.rename(temp, path)


def _bindable(address, port):
    """A socket that holds address:port, so that no other cloud takes it."""
    sock = socket.socket()
    try:
        sock.bind((address, port))
    except OSError:
        sock.close()
        return None
    return sock


def _port(wanted):
    """The port of the sshd's: 22 if we may and nobody listens everywhere."""
    if wanted:
        return wanted
    if os.geteuid() == 0:
        sock = _bindable('127.254.254.254', 22)
        if sock:
            sock.close()
            return 22
    return 2222


def _network(wanted, port):
    """(network, the socket that holds it)."""
    if wanted:
        net = ipaddress.ip_network(wanted)
        if not net.subnet_of(ipaddress.ip_network('127.0.0.0/8')) \
                or net.prefixlen > 26:
            raise ValueError('--net is a part of 127.0.0.0/8, /26 or larger')
        hold = _bindable(str(net[1]), port)
        if hold is None:
            raise ValueError('%s port %d is taken: another cloud?'
                             % (net[1], port))
        return net, hold
    for _ in range(200):
        net = ipaddress.ip_network('127.%d.%d.0/20' % (
            random.randrange(100, 250), random.randrange(16) * 16))
        hold = _bindable(str(net[1]), port)
        if hold:
            return net, hold
    raise ValueError('no free network at port %d' % port)


def _openrc(cloud):
    common = [('OS_AUTH_URL', cloud.url + '/identity/v3'),
              ('OS_REGION_NAME', 'RegionOne'),
              ('OS_IDENTITY_API_VERSION', '3')]
    user = common + [('OS_AUTH_TYPE', 'password'), ('OS_USERNAME', 'ci'),
                     ('OS_PASSWORD', cloud.password),
                     ('OS_PROJECT_NAME', 'ci'),
                     ('OS_PROJECT_DOMAIN_NAME', 'Default'),
                     ('OS_USER_DOMAIN_NAME', 'Default')]
    app = common + [('OS_AUTH_TYPE', 'v3applicationcredential'),
                    ('OS_APPLICATION_CREDENTIAL_ID', cloud.app_id),
                    ('OS_APPLICATION_CREDENTIAL_SECRET', cloud.app_secret)]
    for name, pairs in (('openrc', user), ('openrc-app', app)):
        _write(cloud, name,
               ''.join('export %s=%s\n' % pair for pair in pairs))


def _key_pair(cloud):
    path = os.path.join(cloud.dir, 'id_ed25519')
    if not os.path.exists(path):
        guests.keygen(path, 'ci-key')
    with open(path + '.pub', encoding='utf-8') as f:
        public = f.read()
    cloud.keypairs['ci-key'] = {
        'name': 'ci-key', 'type': 'ssh', 'user_id': cloud.user_id,
        'public_key': public, 'fingerprint': fingerprint(public)}


def run(folder, ssh_port, net):
    os.umask(0o077)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    os.chmod(folder, 0o700)
    if '"' in folder or '\n' in folder:
        raise ValueError('a quote in the name of the directory')
    for name in FILES:
        if os.path.exists(os.path.join(folder, name)):
            os.unlink(os.path.join(folder, name))
    for name in ('servers', 'keys'):
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    port = _port(ssh_port)
    net, hold = _network(net, port)
    cloud = Cloud(folder, net, port, pwd.getpwuid(os.getuid()).pw_name)
    cloud.password, cloud.app_secret, cloud.control = (
        secrets.token_urlsafe(16) for _ in range(3))
    procs.adopt_orphans()
    cloud.guests = guests.Guests(cloud)
    _key_pair(cloud)
    server = api.Server(cloud)
    number = server.server_address[1]
    cloud.url = 'http://127.0.0.1:%d' % number
    _openrc(cloud)
    for name, text in (('ssh-port', port), ('user', cloud.user),
                       ('control', '%d %s' % (number, cloud.control)),
                       ('pid', os.getpid())):
        _write(cloud, name, '%s\n' % text)
    ended = threading.Event()
    for one in signals:
        signal.signal(one, lambda *_: ended.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _write(cloud, 'ready', '')
    while not ended.wait(60):
        pass
    _end(cloud)
    hold.close()
    return 0


def _end(cloud):
    cloud.stopping.set()
    for name in ('ready', 'control'):
        try:
            os.unlink(os.path.join(cloud.dir, name))
        except FileNotFoundError:
            pass
    cloud.guests.end()
    cloud.timers.end()
    cloud.guests.end()          # what began in the meantime
    try:
        os.unlink(os.path.join(cloud.dir, 'pid'))
    except FileNotFoundError:
        pass
    sys.stdout.flush()
    os._exit(0)                 # requests that hang would hold us
