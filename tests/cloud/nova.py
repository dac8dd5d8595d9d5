"""Compute v2.1, microversions 2.1 to 2.96: servers and what they need."""
import base64
import binascii
import secrets
import re
import time

import lifecycle
import novaview
from state import ApiError, Server, fingerprint, iso

PREFIX = '/compute'
ERRORS = {400: 'badRequest', 401: 'unauthorized', 403: 'forbidden',
          404: 'itemNotFound', 409: 'conflictingRequest', 413: 'overLimit',
          429: 'overLimit', 503: 'serviceUnavailable'}
CREATE_KEYS = {'name', 'imageRef', 'flavorRef', 'networks', 'key_name',
               'security_groups', 'metadata', 'user_data', 'config_drive',
               'availability_zone', 'description', 'min_count', 'max_count',
               'adminPass', 'tags', 'hostname', 'block_device_mapping_v2',
               'OS-DCF:diskConfig', 'accessIPv4', 'accessIPv6', 'host',
               'personality', 'hypervisor_hostname',
               'trusted_image_certificates'}


def error(status, message):
    return {ERRORS.get(status, 'computeFault'):
            {'code': status, 'message': message}}


def _version(cloud):
    return {'id': 'v2.1', 'status': 'CURRENT', 'version': '2.96',
            'min_version': '2.1', 'updated': '2013-07-23T11:33:21Z',
            'links': [{'rel': 'self',
                       'href': cloud.url + PREFIX + '/v2.1/'}]}


def versions(cloud, _req):
    return 200, {'versions': [_version(cloud)]}


def version(cloud, _req):
    return 200, {'version': dict(_version(cloud), **{'media-types': [{
        'base': 'application/json',
        'type': 'application/vnd.openstack.compute+json;version=2.1'}]})}


def server_of(cloud, server_id):
    server = cloud.servers.get(server_id)
    if server is None:
        raise ApiError(404, 'Instance %s could not be found.' % server_id)
    return server


# --- create

def _name(wish):
    name = wish.get('name')
    if not isinstance(name, str) or not 0 < len(name.strip()) <= 255:
        raise ApiError(400, "Invalid input for field/attribute name. Value: "
                       "%s." % name)
    return name


def _flavor(cloud, wish):
    ref = str(wish.get('flavorRef', '')).rsplit('/', 1)[-1]
    flavor = cloud.flavor(ref)
    if flavor is None:
        raise ApiError(400, 'Flavor %s could not be found.' % ref)
    return flavor


def _image(cloud, wish):
    ref = str(wish.get('imageRef', '')).rsplit('/', 1)[-1]
    if not ref:
        raise ApiError(400, 'Block Device Mapping is Invalid: this cloud has '
                       'no volumes, name an image.')
    if ref not in cloud.images:
        raise ApiError(400, 'Can not find requested image')
    return ref


def _networks(cloud, wish, microversion):
    """The networks and ports asked for, as objects."""
    wanted = wish.get('networks')
    if wanted == 'none':
        if microversion >= (2, 37):
            return []
        raise ApiError(400, "Invalid input for field/attribute networks.")
    if wanted is None and microversion >= (2, 37):
        raise ApiError(400, "Invalid input for field/attribute server. "
                       "'networks' is a required property")
    if wanted in (None, 'auto', []):
        raise ApiError(409, 'Multiple possible networks found, use a Network '
                       'ID to be more specific.')
    found = []
    for item in wanted:
        if item.get('port'):
            port = cloud.ports.get(item['port'])
            if port is None:
                raise ApiError(400, 'Port %s could not be found.'
                               % item['port'])
            if port['device_id']:
                raise ApiError(409, 'Port %s is still in use.'
                               % item['port'])
            found.append(port)
            continue
        net = cloud.network(item.get('uuid'))
        if net is None:
            raise ApiError(400, 'Network %s could not be found.'
                           % item.get('uuid'))
        if net.external:
            raise ApiError(403, 'It is not allowed to create an interface on '
                           'external network %s' % net.id)
        found.append(net)
    return found


def _groups(cloud, wish):
    names = []
    for item in wish.get('security_groups') or [{'name': 'default'}]:
        name = cloud.groups.get(item.get('name'), item.get('name'))
        if name not in cloud.groups.values():
            raise ApiError(400, 'Security group %s not found for project %s.'
                           % (name, cloud.project_id))
        names.append(name)
    return names


def _metadata(cloud, values):
    if not isinstance(values, dict):
        raise ApiError(400, 'Invalid input for field/attribute metadata.')
    for key, value in values.items():
        if not (isinstance(value, str) and len(value) <= 255
                and re.fullmatch(r'[a-zA-Z0-9-_:. ]{1,255}', key)):
            raise ApiError(400, 'Invalid input for field/attribute %s. '
                           'Value: %s.' % (key, value))
    if 0 <= cloud.quota('metadata_items') < len(values):
        raise ApiError(403, 'Maximum number of metadata items exceeds %d'
                       % cloud.quota('metadata_items'))
    return dict(values)


def _user_data(wish):
    data = wish.get('user_data')
    if data is None:
        return None
    try:
        base64.b64decode(data, validate=True)
        if len(data) > 65535:
            raise ValueError('too long')
    except (ValueError, binascii.Error) as e:
        raise ApiError(400, 'Invalid input for field/attribute user_data. '
                       '(%s)' % e) from e
    return data


def _checked(cloud, wish, req):
    """What Server() takes, or the complaint that nova has."""
    unknown = set(wish) - CREATE_KEYS
    if unknown:
        raise ApiError(400, 'Invalid input for field/attribute server. '
                       "Additional properties are not allowed (%s)"
                       % ', '.join("'%s'" % i for i in sorted(unknown)))
    if 'description' in wish and req.microversion < (2, 19):
        raise ApiError(400, 'Invalid input for field/attribute server. '
                       "Additional properties are not allowed "
                       "('description' was unexpected)")
    key = None
    if wish.get('key_name') is not None:
        key = cloud.keypairs.get(wish['key_name'])
        if key is None:
            raise ApiError(400, 'Invalid key_name provided.')
    zone = wish.get('availability_zone') or 'nova'
    if zone != 'nova':
        raise ApiError(400, 'The requested availability zone is not '
                       'available')
    drive = wish.get('config_drive')
    return {'flavor': _flavor(cloud, wish), 'image_id': _image(cloud, wish),
            'key_name': key and key['name'],
            'key_data': key and key['public_key'],
            'user_data': _user_data(wish),
            'metadata': _metadata(cloud, wish.get('metadata') or {}),
            'description': wish.get('description', ''),
            'groups': _groups(cloud, wish), 'tags': wish.get('tags', []),
            'config_drive': 'True' if drive in (True, 'true', 'True') else ''}


def create(cloud, req):
    wish = (req.body or {}).get('server')
    if not isinstance(wish, dict):
        raise ApiError(400, "Invalid input for field/attribute server.")
    name = _name(wish)
    given = _checked(cloud, wish, req)
    networks = _networks(cloud, wish, req.microversion)
    count = int(wish.get('max_count', wish.get('min_count', 1)) or 1)
    lifecycle.check_quota(cloud, given['flavor'], count)
    for number in range(1, count + 1):
        server = Server(name if count == 1 else '%s-%d' % (name, number),
                        **dict(given, metadata=dict(given['metadata'])))
        lifecycle.create(cloud, server, networks)
    url = novaview.link(cloud, server)
    return 202, {'server': {
        'id': server.id, 'links': [{'rel': 'self', 'href': url}],
        'OS-DCF:diskConfig': 'MANUAL',
        'adminPass': secrets.token_urlsafe(9),
        'security_groups': [{'name': g} for g in server.groups]}}, \
        {'Location': url}


# --- look, change, delete

def listing(cloud, req):
    return 200, novaview.page(cloud, req, detail=False)


def detail(cloud, req):
    return 200, novaview.page(cloud, req, detail=True)


def show(cloud, req, server_id):
    server = server_of(cloud, server_id)
    return 200, {'server': novaview.server(cloud, server, req.microversion)}


def update(cloud, req, server_id):
    server, wish = server_of(cloud, server_id), req.body['server']
    if 'name' in wish:
        server.name = _name(wish)
    server.description = wish.get('description', server.description)
    server.touch()
    return show(cloud, req, server_id)


def delete(cloud, _req, server_id):
    server = server_of(cloud, server_id)
    if not server.deleting:
        lifecycle.delete(cloud, server)
    return 204, None


def metadata(cloud, req, server_id):
    server = server_of(cloud, server_id)
    if req.method != 'GET':
        kept = {} if req.method == 'PUT' else dict(server.metadata)
        kept.update(req.body['metadata'])
        server.metadata = _metadata(cloud, kept)
    return 200, {'metadata': server.metadata}


def metadata_item(cloud, req, server_id, key):
    server = server_of(cloud, server_id)
    if req.method == 'PUT':
        server.metadata = _metadata(
            cloud, dict(server.metadata, **req.body['meta']))
    elif key not in server.metadata:
        raise ApiError(404, 'Metadata item was not found')
    if req.method == 'DELETE':
        del server.metadata[key]
        return 204, None
    return 200, {'meta': {key: server.metadata[key]}}


def tags(cloud, req, server_id):
    server = server_of(cloud, server_id)
    if req.method == 'PUT':
        server.tags = list(req.body['tags'])
    return 200, {'tags': server.tags}


def addresses(cloud, _req, server_id):
    return 200, {'addresses': novaview.addresses(
        cloud, server_of(cloud, server_id))}


def interfaces(cloud, _req, server_id):
    return 200, {'interfaceAttachments': [
        {'port_id': p['id'], 'net_id': p['network'].id,
         'mac_addr': p['mac'], 'port_state': 'ACTIVE',
         'fixed_ips': [{'ip_address': a, 'subnet_id': p['network'].subnet_id}
                       for a in p['addresses']]}
        for p in server_of(cloud, server_id).ports]}


def server_groups(cloud, _req, server_id):
    return 200, {'security_groups': [
        {'id': i, 'name': n, 'description': '', 'rules': [],
         'tenant_id': cloud.project_id} for i, n in cloud.groups.items()
        if n in server_of(cloud, server_id).groups]}


def actions(cloud, _req, server_id):
    server = server_of(cloud, server_id)
    return 200, {'instanceActions': [{
        'action': 'create', 'instance_uuid': server.id, 'message': None,
        'project_id': cloud.project_id, 'user_id': cloud.user_id,
        'request_id': 'req-' + server.id,
        'start_time': iso(server.created, '.000000'),
        'updated_at': iso(server.created, '.000000')}]}


def _console(cloud, server, wish):
    if server.guest is None or server.status == 'BUILD':
        raise ApiError(409, 'Instance %s is not ready' % server.id)
    text = server.guest.console()
    length = wish.get('length') if isinstance(wish, dict) else None
    if length not in (None, -1, '-1'):
        lines = text.split('\n')
        text = '\n'.join(lines[max(0, len(lines) - int(length)):])
    return 200, {'output': text}


def action(cloud, req, server_id):
    server = server_of(cloud, server_id)
    name, wish = next(iter(req.body.items()))
    if name == 'os-getConsoleOutput':
        return _console(cloud, server, wish)
    needed = {'reboot': ('ACTIVE', 'SHUTOFF'), 'os-stop': ('ACTIVE', 'ERROR'),
              'os-start': ('SHUTOFF',), 'forceDelete': None,
              'addSecurityGroup': None, 'removeSecurityGroup': None}
    if name not in needed:
        raise ApiError(400, 'There is no such action: %s' % name)
    if needed[name] and (server.status not in needed[name]
                         or server.deleting):
        raise ApiError(409, "Cannot '%s' instance %s while it is in vm_state "
                       "%s" % (name.replace('os-', ''), server.id,
                               server.vm_state))
    if name == 'forceDelete':
        lifecycle.delete(cloud, server)
    elif name.endswith('SecurityGroup'):
        _change_groups(cloud, server, name, wish)
    elif name == 'reboot':
        hard = wish.get('type') == 'HARD'
        server.task_state = 'rebooting_hard' if hard else 'rebooting'
        cloud.timers.after(0.05, lifecycle.reboot, cloud, server, hard)
    elif name == 'os-stop':
        server.task_state = 'powering-off'
        cloud.timers.after(0.05, lifecycle.stop_orderly, cloud, server)
    else:
        server.task_state = 'powering-on'
        cloud.timers.after(0.05, lifecycle.start, cloud, server)
    return 202, None


def _change_groups(cloud, server, name, wish):
    group = _groups(cloud, {'security_groups': [wish]})[0]
    if name == 'addSecurityGroup':
        server.groups.append(group)
    elif group in server.groups:
        server.groups.remove(group)


# --- flavors, keys, limits

def flavors(cloud, req):
    full = req.path.endswith('/detail')
    found = [novaview.flavor(cloud, f, req.microversion)
             for f in cloud.flavors.values()]
    if 'marker' in req.query:
        ids = [f['id'] for f in found]
        if req.query['marker'][0] not in ids:
            raise ApiError(400, 'marker [%s] not found'
                           % req.query['marker'][0])
        found = found[ids.index(req.query['marker'][0]) + 1:]
    if not full:
        found = [{k: f[k] for k in ('id', 'name', 'links')} for f in found]
    return 200, {'flavors': found}


def flavor(cloud, req, flavor_id):
    found = cloud.flavor(flavor_id)
    if found is None:
        raise ApiError(404, 'Flavor %s could not be found.' % flavor_id)
    return 200, {'flavor': novaview.flavor(cloud, found, req.microversion)}


def extra_specs(_cloud, _req, _flavor_id):
    return 200, {'extra_specs': {}}


def _key_view(req, key, secret=False):
    view = {k: v for k, v in key.items() if k != 'private_key'}
    if req.microversion < (2, 2):
        view.pop('type')
    if secret and 'private_key' in key:
        view['private_key'] = key['private_key']
    return view


def keypairs(cloud, req):
    return 200, {'keypairs': [{'keypair': _key_view(req, k)}
                              for k in cloud.keypairs.values()]}


def new_keypair(cloud, req):
    wish = req.body['keypair']
    name = _name(wish)
    if name in cloud.keypairs:
        raise ApiError(409, "Key pair '%s' already exists." % name)
    if 0 <= cloud.quota('key_pairs') <= len(cloud.keypairs):
        raise ApiError(403, 'Quota exceeded, too many key pairs.')
    key = {'name': name, 'type': 'ssh', 'user_id': cloud.user_id,
           'public_key': wish.get('public_key')}
    if not key['public_key']:
        key['private_key'], key['public_key'] = req.fresh_key()
    try:
        key['fingerprint'] = fingerprint(key['public_key'])
    except (ValueError, IndexError) as e:
        raise ApiError(400, 'Keypair data is invalid: failed to generate '
                       'fingerprint') from e
    cloud.keypairs[name] = key
    return 201 if req.microversion >= (2, 2) else 200, \
        {'keypair': _key_view(req, key, True)}


def keypair(cloud, req, name):
    if name not in cloud.keypairs:
        raise ApiError(404, 'Keypair %s not found for user %s'
                       % (name, cloud.user_id))
    if req.method == 'DELETE':
        del cloud.keypairs[name]
        return 204 if req.microversion >= (2, 2) else 202, None
    return 200, {'keypair': dict(_key_view(req, cloud.keypairs[name]),
                                 created_at=iso(time.time(), '.000000'),
                                 deleted=False, id=1)}


def limits(cloud, _req):
    used = list(cloud.servers.values())
    return 200, {'limits': {'rate': [], 'absolute': {
        'maxTotalInstances': cloud.quota('instances'),
        'maxTotalCores': cloud.quota('cores'),
        'maxTotalRAMSize': cloud.quota('ram'),
        'maxTotalKeypairs': cloud.quota('key_pairs'),
        'maxServerMeta': cloud.quota('metadata_items'),
        'maxServerGroups': 10, 'maxServerGroupMembers': 10,
        'totalInstancesUsed': len(used),
        'totalCoresUsed': sum(s.flavor['vcpus'] for s in used),
        'totalRAMUsed': sum(s.flavor['ram'] for s in used),
        'totalServerGroupsUsed': 0}}}


def quota_set(cloud, _req, project):
    names = ('instances', 'cores', 'ram', 'key_pairs', 'metadata_items',
             'server_groups', 'server_group_members')
    return 200, {'quota_set': dict({n: cloud.quota(n) for n in names},
                                   id=project)}


def zones(_cloud, _req):
    return 200, {'availabilityZoneInfo': [
        {'zoneName': 'nova', 'zoneState': {'available': True},
         'hosts': None}]}


def zones_detail(_cloud, _req):
    raise ApiError(403, "Policy doesn't allow os_compute_api:"
                   "os-availability-zone:detail to be performed.")


S = '/v2.1/servers/([^/]+)'
OPEN = ('/compute', '/compute/v2.1')
ROUTES = (
    ('GET', '', versions), ('GET', '/v2.1', version),
    ('GET', '/v2.1/servers', listing), ('POST', '/v2.1/servers', create),
    ('GET', '/v2.1/servers/detail', detail),
    ('GET', S, show), ('PUT', S, update), ('DELETE', S, delete),
    ('POST', S + '/action', action),
    ('GET|PUT|POST', S + '/metadata', metadata),
    ('GET|PUT|DELETE', S + '/metadata/([^/]+)', metadata_item),
    ('GET|PUT', S + '/tags', tags), ('GET', S + '/ips', addresses),
    ('GET', S + '/os-interface', interfaces),
    ('GET', S + '/os-security-groups', server_groups),
    ('GET', S + '/os-instance-actions', actions),
    ('GET', '/v2.1/flavors(?:/detail)?', flavors),
    ('GET', '/v2.1/flavors/([^/]+)', flavor),
    ('GET', '/v2.1/flavors/([^/]+)/os-extra_specs', extra_specs),
    ('GET', '/v2.1/os-keypairs', keypairs),
    ('POST', '/v2.1/os-keypairs', new_keypair),
    ('GET|DELETE', '/v2.1/os-keypairs/([^/]+)', keypair),
    ('GET', '/v2.1/limits', limits),
    ('GET', '/v2.1/os-quota-sets/([^/]+)(?:/d.*)?', quota_set),
    ('GET', '/v2.1/os-availability-zone', zones),
    ('GET', '/v2.1/os-availability-zone/detail', zones_detail),
)
