"""What happens to a server from create to delete, step by step."""
import re
import time

from guests import Guest
from state import ApiError, Server

NO_HOST = 'No valid host was found. '


def rule_of(cloud, server):
    return cloud.knobs.server(server.name)


def check_quota(cloud, flavor, count):
    """Raises what nova says when `count` more do not fit."""
    servers = list(cloud.servers.values())
    for name, each in (('instances', 1), ('cores', flavor['vcpus']),
                       ('ram', flavor['ram'])):
        if name == 'instances':
            used = len(servers)
        else:
            key = 'vcpus' if name == 'cores' else 'ram'
            used = sum(s.flavor[key] for s in servers)
        limit, wanted = cloud.quota(name), each * count
        # a flavor too large for any host is not what the quota is for
        if flavor['name'] == 'm1.absurd' and name != 'instances':
            continue
        if 0 <= limit < used + wanted:
            raise ApiError(403, 'Quota exceeded for %s: Requested %d, but '
                           'already used %d of %d %s'
                           % (name, wanted, used, limit, name))


def create(cloud, server, networks):
    """Takes a checked server in; `networks` holds networks and ports.

    Called with the lock held."""
    taken = []
    try:
        for item in networks:
            if isinstance(item, dict):
                item['device_id'] = server.id
                server.ports.append(item)
            else:
                server.ports.append(cloud.new_port(
                    item, server.id, groups=server.groups))
                taken.append(server.ports[-1])
    except ApiError:
        for port in taken:
            cloud.drop_port(port)
        raise
    cloud.servers[server.id] = server
    rule = rule_of(cloud, server)
    delay = rule.get('spawn_delay', 0.3)
    server.spawn_began, server.spawn_time = time.monotonic(), delay
    cloud.timers.after(delay, spawn, cloud, server)


def task_state(server):
    """The task state as it moves on while a server is built."""
    if server.status != 'BUILD' or server.deleting:
        return server.task_state
    part = (time.monotonic() - server.spawn_began) / (server.spawn_time or 1)
    for limit, state in ((0.2, 'scheduling'), (0.3, None),
                         (0.5, 'networking')):
        if part < limit:
            return state
    return 'spawning'


def fail(server, message, code=500):
    """Called with the lock held."""
    server.status, server.vm_state, server.task_state = 'ERROR', 'error', None
    server.fault = {'code': code, 'created': time.time(), 'message': message}
    server.touch()


def spawn(cloud, server):
    rule = rule_of(cloud, server)
    with cloud.lock:
        if server.id not in cloud.servers or server.status != 'BUILD':
            return
        if server.flavor['name'] == 'm1.absurd':
            fail(server, NO_HOST)
        elif 'spawn_fail' in rule:
            fail(server, rule['spawn_fail'])
        else:
            server.status, server.vm_state = 'ACTIVE', 'active'
            server.task_state = None
            server.launched = time.time()
            server.touch()
            server.guest = Guest(cloud.guests, server)
    if server.guest:
        cloud.timers.after(rule.get('boot', 0), boot, cloud, server)
        if 'lose_after' in rule:
            cloud.timers.after(rule['lose_after'], lose, cloud, server)


def boot(cloud, server):
    if server.status == 'ACTIVE':
        server.guest.power_on(rule_of(cloud, server))


def plant(cloud, name, status, metadata, created, no_sshd):
    """A server that nobody asked nova for; returns it."""
    with cloud.lock:
        image_id = next(iter(cloud.images))
        server = Server(name, flavor=cloud.flavors['m1.tiny'],
                        image_id=image_id, metadata=metadata,
                        no_sshd=no_sshd, key_name='ci-key',
                        key_data=cloud.keypairs['ci-key']['public_key'])
        if created:
            server.created = server.updated = created
        server.ports = [cloud.new_port(cloud.networks['ci-net'], server.id)]
        if status != 'ERROR':
            server.launched = server.created
            server.guest = Guest(cloud.guests, server)
        cloud.servers[server.id] = server
        server.status, server.vm_state, server.task_state = \
            status, status.lower(), None
        if status == 'ERROR':
            fail(server, NO_HOST)
            server.updated = server.created
        elif status == 'SHUTOFF':
            server.vm_state = 'stopped'
    if status == 'ACTIVE':
        boot(cloud, server)
    return server


def delete(cloud, server):
    """Accepts a delete; called with the lock held."""
    rule = rule_of(cloud, server)
    server.deleting, server.task_state = True, 'deleting'
    server.touch()
    cloud.timers.after(rule.get('delete_delay', 0.1), _delete, cloud, server)


def _delete(cloud, server):
    rule = rule_of(cloud, server)
    with cloud.lock:
        if server.id not in cloud.servers:
            return
        if 'delete_fail' in rule:
            server.deleting = False
            fail(server, rule['delete_fail'])
            return
    lose(cloud, server)


def lose(cloud, server):
    """Takes a server out of the cloud, with all that runs in it."""
    if server.guest:
        server.guest.power_off(gone=True)
    with cloud.lock:
        if cloud.servers.pop(server.id, None) is None:
            return
        for port in server.ports:
            if port['made_by_nova']:
                cloud.drop_port(port)
            else:
                port['device_id'] = ''


def shut_down(cloud, server):
    """What runs there is asked to end before the power goes."""
    server.guest.shut_down(rule_of(cloud, server).get('shutdown', 2))


def stop_orderly(cloud, server):
    if server.guest and server.status == 'ACTIVE':
        shut_down(cloud, server)
    stop(cloud, server)


def stop(cloud, server):
    """Power off, at once, whoever asked for it."""
    if server.guest:
        server.guest.power_off()
    with cloud.lock:
        if server.status == 'ACTIVE':
            server.status, server.vm_state = 'SHUTOFF', 'stopped'
            server.task_state = None
            server.touch()


def start(cloud, server):
    with cloud.lock:
        if server.guest is None:
            return
        server.status, server.vm_state = 'ACTIVE', 'active'
        server.task_state = None
        server.touch()
    cloud.timers.after(rule_of(cloud, server).get('boot', 0), boot, cloud,
                       server)


def reboot(cloud, server, hard):
    if not hard and server.status == 'ACTIVE':
        shut_down(cloud, server)
    server.guest.power_off()
    start(cloud, server)


def find(cloud, regex):
    """Servers whose name matches, as nova's database does it."""
    try:
        wanted = re.compile(regex, re.I)
    except re.error as e:
        raise ApiError(400, 'Invalid filters name: %s' % e) from e
    return [s for s in cloud.servers.values() if wanted.search(s.name)]
