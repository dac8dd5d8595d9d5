"""How nova shows servers and flavors, and how it pages lists of them."""
import re
from datetime import datetime
from urllib.parse import urlencode

import lifecycle
from state import ApiError, iso

PAGE = 50


def link(cloud, server):
    return '%s/compute/v2.1/servers/%s' % (cloud.url, server.id)


def addresses(cloud, server):
    """{} until the server is ACTIVE, as of the real nova."""
    if server.status in ('BUILD', 'ERROR') and server.guest is None:
        return {}
    shown = {}
    for port in server.ports:
        entries = [(a, 'fixed') for a in port['addresses']] + \
            [(a, 'floating') for a in cloud.floating_of(port)]
        shown.setdefault(port['network'].name, []).extend(
            {'addr': a, 'version': 4, 'OS-EXT-IPS:type': kind,
             'OS-EXT-IPS-MAC:mac_addr': port['mac']} for a, kind in entries)
    return shown


def _flavor_of(cloud, server, microversion):
    flavor_ = server.flavor
    if microversion < (2, 47):
        return {'id': flavor_['id'], 'links': [
            {'rel': 'bookmark', 'href': '%s/compute/flavors/%s'
             % (cloud.url, flavor_['id'])}]}
    return {'vcpus': flavor_['vcpus'], 'ram': flavor_['ram'],
            'disk': flavor_['disk'], 'ephemeral': 0, 'swap': 0,
            'original_name': flavor_['name'], 'extra_specs': {}}


def server(cloud, it, microversion):
    power = {'ACTIVE': 1, 'SHUTOFF': 4}.get(it.status, 0)
    view = {
        'id': it.id, 'name': it.name, 'status': it.status,
        'tenant_id': cloud.project_id, 'user_id': cloud.user_id,
        'metadata': dict(it.metadata), 'hostId': '%056x' % 77,
        'image': {'id': it.image_id, 'links': []},
        'flavor': _flavor_of(cloud, it, microversion),
        'created': iso(it.created), 'updated': iso(it.updated),
        'addresses': addresses(cloud, it), 'accessIPv4': '',
        'accessIPv6': '', 'OS-DCF:diskConfig': 'MANUAL',
        'links': [{'rel': 'self', 'href': link(cloud, it)}],
        'OS-EXT-AZ:availability_zone': it.availability_zone,
        'config_drive': it.config_drive, 'key_name': it.key_name,
        'OS-SRV-USG:launched_at': it.launched and iso(it.launched,
                                                      '.000000'),
        'OS-SRV-USG:terminated_at': None,
        'OS-EXT-STS:task_state': lifecycle.task_state(it),
        'OS-EXT-STS:vm_state': it.vm_state,
        'OS-EXT-STS:power_state': power,
        'os-extended-volumes:volumes_attached': []}
    if it.status in ('ACTIVE', 'BUILD'):
        view['progress'] = 0
    if it.status != 'ERROR':
        view['security_groups'] = [{'name': g} for g in it.groups]
    if it.fault:
        view['fault'] = dict(it.fault, created=iso(it.fault['created']))
        if it.status != 'ERROR':
            del view['fault']
    for since, key, value in (
            ((2, 9), 'locked', False),
            ((2, 19), 'description', it.description or None),
            ((2, 26), 'tags', list(it.tags)),
            ((2, 63), 'trusted_image_certificates', None),
            ((2, 71), 'server_groups', []), ((2, 73), 'locked_reason', None),
            ((2, 96), 'pinned_availability_zone', None)):
        if microversion >= since:
            view[key] = value
    return view


def _filtered(cloud, req):
    """The servers that the query wants, in no order."""
    wanted = {k: v[0] for k, v in req.query.items()}
    found = lifecycle.find(cloud, wanted.get('name', ''))
    if wanted.get('deleted', '').lower() in ('true', '1'):
        return []
    if 'status' in req.query:
        states = [s.upper() for s in req.query['status']]
        found = [s for s in found if s.status in states]
    if 'tags' in wanted and req.microversion >= (2, 26):
        tags = set(wanted['tags'].split(','))
        found = [s for s in found if tags <= set(s.tags)]
    if 'image' in wanted:
        found = [s for s in found if s.image_id == wanted['image']]
    if 'flavor' in wanted:
        found = [s for s in found if s.flavor['id'] == wanted['flavor']]
    if 'ip' in wanted:
        found = [s for s in found if any(
            re.search(wanted['ip'], a) for p in s.ports
            for a in p['addresses'] + cloud.floating_of(p))]
    for key, later in (('changes-since', True), ('changes-before', False)):
        if key in wanted:
            try:
                when = datetime.fromisoformat(
                    wanted[key].replace('Z', '+00:00')).timestamp()
            except ValueError as e:
                raise ApiError(400, 'Invalid input for query parameters %s.'
                               % key) from e
            found = [s for s in found
                     if s.updated != when and (s.updated > when) == later]
    return found


def page(cloud, req, detail):
    """One page of the list, newest first, with the link to the next."""
    order = sorted(cloud.servers.values(), reverse=True,
                   key=lambda s: (int(s.created), s.number))
    most = cloud.knobs.setting('page', PAGE)
    try:
        limit = int(req.query.get('limit', [most])[0])
        if limit < 0:
            raise ValueError(limit)
    except ValueError as e:
        raise ApiError(400, 'Invalid input for query parameters limit.') \
            from e
    limit = min(limit, most)
    if 'marker' in req.query:
        marker = req.query['marker'][0]
        ids = [s.id for s in order]
        if marker not in ids:
            raise ApiError(400, 'marker [%s] not found' % marker)
        order = order[ids.index(marker) + 1:]
    keep = {s.id for s in _filtered(cloud, req)}
    order = [s for s in order if s.id in keep][:limit]
    if detail:
        shown = [server(cloud, s, req.microversion) for s in order]
    else:
        shown = [{'id': s.id, 'name': s.name, 'links': [
            {'rel': 'self', 'href': link(cloud, s)}]} for s in order]
    answer = {'servers': shown}
    if limit and len(order) == limit:
        query = {k: v for k, v in req.query.items() if k != 'marker'}
        query['marker'] = order[-1].id
        answer['servers_links'] = [{
            'rel': 'next', 'href': '%s%s?%s' % (
                cloud.url, req.path, urlencode(query, doseq=True))}]
    return answer


def flavor(cloud, it, microversion):
    view = {'id': it['id'], 'name': it['name'], 'ram': it['ram'],
            'disk': it['disk'], 'vcpus': it['vcpus'],
            'swap': '' if microversion < (2, 75) else 0,
            'OS-FLV-EXT-DATA:ephemeral': 0, 'rxtx_factor': 1.0,
            'OS-FLV-DISABLED:disabled': False,
            'os-flavor-access:is_public': True,
            'links': [{'rel': 'self', 'href': '%s/compute/v2.1/flavors/%s'
                       % (cloud.url, it['id'])}]}
    if microversion >= (2, 55):
        view['description'] = None
    if microversion >= (2, 61):
        view['extra_specs'] = {}
    return view
