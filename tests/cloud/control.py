"""The commands of `cloud` for a running cloud, by a private endpoint."""
import calendar
import json
import signal
import time

import lifecycle
import novaview


def perform(cloud, command, given):
    """(HTTP status, text to print)."""
    try:
        return 200, COMMANDS[command](cloud, given)
    except (ValueError, KeyError) as e:
        return 400, str(e.args[0] if e.args else e)


def _find(cloud, given):
    with cloud.lock:
        if given['id'] not in cloud.servers:
            raise ValueError('no server %s' % given['id'])
        return cloud.servers[given['id']]


def servers(cloud, given):
    with cloud.lock:
        found = [{'id': s.id, 'name': s.name, 'status': s.status,
                  'metadata': dict(s.metadata),
                  'addresses': [i['addr'] for entries in
                                novaview.addresses(cloud, s).values()
                                for i in entries],
                  'task_state': lifecycle.task_state(s)}
                 for s in cloud.servers.values()]
    if given.get('json'):
        return json.dumps(found, indent=1) + '\n'
    return ''.join('%s %s %s %s %s\n' % (
        s['id'], s['name'], s['status'],
        ','.join('%s=%s' % i for i in sorted(s['metadata'].items())) or '-',
        ','.join(s['addresses']) or '-') for s in found)


def add(cloud, given):
    created = given.get('created')
    if created:
        try:
            created = calendar.timegm(time.strptime(created[:19],
                                                    '%Y-%m-%dT%H:%M:%S'))
        except ValueError as e:
            raise ValueError('--created wants e.g. 2026-01-31T12:00:00Z') \
                from e
    server = lifecycle.plant(cloud, given['name'], given['status'],
                             given['metadata'], created, given['no_sshd'])
    return server.id + '\n'


def kill(cloud, given):
    lifecycle.stop(cloud, _find(cloud, given))
    return ''


def lose(cloud, given):
    lifecycle.lose(cloud, _find(cloud, given))
    return ''


def _guest(cloud, given):
    server = _find(cloud, given)
    if server.guest is None or server.status != 'ACTIVE':
        raise ValueError('server %s is not ACTIVE' % server.id)
    return server.guest


def freeze(cloud, given):
    _guest(cloud, given).freeze()
    return ''


def thaw(cloud, given):
    _guest(cloud, given).freeze(signal.SIGCONT)
    return ''


COMMANDS = {'servers': servers, 'add': add, 'kill': kill, 'lose': lose,
            'freeze': freeze, 'thaw': thaw}
