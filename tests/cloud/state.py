"""What is in the cloud: images, flavors, networks, ports, servers, keys.

All of it is guarded by one lock, `Cloud.lock`; nobody sleeps or starts a
process while holding it.
"""
import base64
import hashlib
import ipaddress
import itertools
import os
import threading
import time
import uuid

from faults import Knobs
from timers import Timers

QUOTAS = {'instances': 500, 'cores': 5000, 'ram': 51200000, 'key_pairs': 100,
          'metadata_items': 128, 'server_groups': 10,
          'server_group_members': 10, 'floatingip': 50}
FLAVORS = (('m1.tiny', 128, 1, 1), ('m1.small', 512, 5, 1), ('m1.memory', 128, 5, 1),
           ('m1.absurd', 1048576, 9999, 128))
IMAGES = (('builder-one', '2026-01-10T08:00:00Z'),
          ('builder', '2026-01-05T08:00:00Z'),
          ('builder', '2026-02-20T08:00:00Z'),
          ('builder two words', '2026-01-15T08:00:00Z'),
          ('large', '2026-01-01T08:00:00Z'))
GROUPS = ('default', 'ci', 'web', 'office', 'members')
# the part of --net, in eighths, that each network has
PARTS = {'ci-net': (0, 4), 'ci-dual': (4, 6), 'other-net': (6, 7),
         'public': (7, 8)}


class ApiError(Exception):
    """An answer that is not a success; each service has its own form."""

    def __init__(self, status, message, headers=None):
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = headers or {}


def new_id():
    return str(uuid.uuid4())


def fixed_id(name):
    """An id that is the same in each run of the cloud."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name + '.novasim'))


def iso(seconds=None, zone='Z'):
    return time.strftime('%Y-%m-%dT%H:%M:%S' + zone, time.gmtime(seconds))


def fingerprint(public_key):
    """MD5 as nova shows it; raises ValueError when it is not a key."""
    blob = base64.b64decode(public_key.split()[1], validate=True)
    if len(blob) < 20:
        raise ValueError('too short')
    digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return ':'.join(digest[i:i + 2] for i in range(0, 32, 2))


class Network:
    """A network, its only subnet, and the addresses it gives out."""

    def __init__(self, name, addresses, external=False):
        self.name, self.external = name, external
        self.id, self.subnet_id = fixed_id('net ' + name), \
            fixed_id('subnet ' + name)
        self.addresses = addresses
        self.used = set()
        self._next = 0

    def allocate(self):
        """Round robin, so that an address rests before it is used again."""
        for _ in self.addresses:
            address = self.addresses[self._next]
            self._next = (self._next + 1) % len(self.addresses)
            if address not in self.used:
                self.used.add(address)
                return address
        raise ApiError(409, 'No more IP addresses available on network %s.'
                       % self.id)


class Server:
    """One Nova server. `guest` is its body, see guests.py."""
    numbers = itertools.count()

    def __init__(self, name, **given):
        self.id, self.name = new_id(), name
        self.number = next(self.numbers)
        self.status, self.vm_state, self.task_state = \
            'BUILD', 'building', 'scheduling'
        self.created = self.updated = time.time()
        self.launched = self.fault = self.guest = None
        self.image_id = self.key_name = self.key_data = self.user_data = None
        self.flavor = None
        self.description = None
        self.availability_zone = 'nova'
        self.config_drive = ''
        self.metadata, self.tags, self.groups = {}, [], ['default']
        self.ports = []
        self.no_sshd = False
        self.deleting = False
        self.__dict__.update(given)

    def touch(self):
        self.updated = time.time()


class Cloud:
    def __init__(self, folder, net, ssh_port, user):
        self.dir, self.ssh_port, self.user = folder, ssh_port, user
        self.lock = threading.RLock()
        self.knobs = Knobs(os.path.join(folder, 'knobs.json'))
        self.timers = Timers()
        self.stopping = threading.Event()
        self.guests = None      # guests.Guests, set by the server
        self.url = ''           # http://127.0.0.1:PORT, likewise
        self.password = ''
        self.app_secret = ''
        self.project_id, self.user_id = (fixed_id(i).replace('-', '')
                                         for i in ('project', 'user'))
        self.app_id = fixed_id('application credential').replace('-', '')
        self.tokens = {}        # token -> end of its life
        self.servers, self.ports, self.floatingips = {}, {}, {}
        self.keypairs = {}
        self.flavors = {n: {'id': str(i), 'name': n, 'ram': r, 'disk': d,
                            'vcpus': c}
                        for i, (n, r, d, c) in enumerate(FLAVORS, 1)}
        self.images = {}
        for number, (name, updated) in enumerate(IMAGES):
            image_id = fixed_id('image %d %s' % (number, name))
            self.images[image_id] = {
                'id': image_id, 'name': name, 'updated_at': updated,
                'created_at': '2026-01-0%dT08:00:00Z' % (number + 1),
                'os_distro': 'debian'}
            if name == 'builder':
                self.images[image_id]['ci'] = 'yes'
            if name == 'large':
                self.images[image_id].update(os_distro='other', min_disk=4,
                                             min_ram=256)
        self.groups = {fixed_id('group ' + n): n for n in GROUPS}
        self.net = ipaddress.ip_network(net)
        self.networks = self._divide()

    def _divide(self):
        base = int(self.net.network_address)
        eighth = self.net.num_addresses // 8
        nets = {}
        for name, (first, end) in PARTS.items():
            low, high = base + first * eighth, base + end * eighth
            low, high = max(low, base + 2), min(
                high, base + self.net.num_addresses - 2)
            pool = [str(ipaddress.ip_address(i))
                    for i in range(low, min(high, low + 4096))]
            nets[name] = Network(name, pool, name == 'public')
        return nets

    def network(self, network_id):
        for net in self.networks.values():
            if net.id == network_id:
                return net
        return None

    def flavor(self, flavor_id):
        for flavor in self.flavors.values():
            if flavor['id'] == flavor_id:
                return flavor
        return None

    def quota(self, name):
        return self.knobs.setting('quota', {}).get(name, QUOTAS.get(name, -1))

    def new_port(self, net, server_id='', name='', groups=()):
        """A neutron port; of ci-dual two addresses, the first one dead."""
        count = 2 if net.name == 'ci-dual' else 1
        port_id = new_id()
        addresses = [net.allocate() for _ in range(count)]
        port = {'id': port_id, 'name': name, 'network': net,
                'addresses': addresses, 'alive': addresses[-1:],
                'device_id': server_id, 'made_by_nova': bool(server_id),
                'groups': list(groups), 'description': '',
                'created_at': iso(),
                'mac': 'fa:16:3e:' + ':'.join(
                    port_id[i:i + 2] for i in (0, 2, 4))}
        self.ports[port_id] = port
        return port

    def drop_port(self, port):
        self.ports.pop(port['id'], None)
        port['network'].used.difference_update(port['addresses'])
        for fip in self.floatingips.values():
            if fip['port_id'] == port['id']:
                fip['port_id'] = None

    def floating_of(self, port):
        return [f['address'] for f in self.floatingips.values()
                if f['port_id'] == port['id']]

    def listening(self, server):
        """The addresses on which the server's sshd answers."""
        with self.lock:
            found = []
            for port in server.ports:
                found += port['alive'] + self.floating_of(port)
            return found
