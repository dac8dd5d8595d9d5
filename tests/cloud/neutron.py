"""Network v2: networks, subnets, ports, security groups, floating IPs."""
from state import ApiError, fixed_id, iso, new_id

PREFIX = '/network'
EXTENSIONS = ('router', 'external-net', 'security-group', 'standard-attr-tag',
              'net-mtu', 'project-id', 'quotas', 'availability_zone',
              'standard-attr-description', 'standard-attr-timestamp')
SPECIAL = ('fields', 'limit', 'marker', 'sort_key', 'sort_dir',
           'page_reverse')


def error(status, message):
    kinds = {404: 'NotFound', 409: 'Conflict', 400: 'BadRequest'}
    return {'NeutronError': {'type': kinds.get(status, 'HTTPError'),
                             'message': message, 'detail': ''}}


def versions(cloud, _req):
    return 200, {'versions': [{
        'id': 'v2.0', 'status': 'CURRENT',
        'links': [{'rel': 'self', 'href': cloud.url + PREFIX + '/v2.0/'}]}]}


def version(_cloud, _req):
    return 200, {'resources': []}


def extensions(_cloud, _req):
    return 200, {'extensions': [
        {'alias': a, 'name': a, 'description': '', 'links': [],
         'updated': '2016-01-01T00:00:00-00:00'} for a in EXTENSIONS]}


def extension(_cloud, _req, alias):
    if alias not in EXTENSIONS:
        raise ApiError(404, 'Extension with alias %s does not exist' % alias)
    return 200, {'extension': {'alias': alias, 'name': alias}}


def _common(cloud, name):
    stamp = '2026-01-01T00:00:00Z'
    return {'name': name, 'project_id': cloud.project_id,
            'tenant_id': cloud.project_id, 'description': '', 'tags': [],
            'created_at': stamp, 'updated_at': stamp, 'revision_number': 1}


def _network(cloud, net):
    return dict(_common(cloud, net.name), **{
        'id': net.id, 'status': 'ACTIVE', 'admin_state_up': True,
        'subnets': [net.subnet_id], 'shared': True, 'mtu': 1500,
        'router:external': net.external, 'is_default': False,
        'availability_zones': ['nova'], 'availability_zone_hints': [],
        'port_security_enabled': True, 'ipv4_address_scope': None,
        'ipv6_address_scope': None})


def _subnet(cloud, net):
    return dict(_common(cloud, net.name + '-v4'), **{
        'id': net.subnet_id, 'network_id': net.id, 'ip_version': 4,
        'cidr': str(cloud.net), 'gateway_ip': str(cloud.net[1]),
        'enable_dhcp': False, 'dns_nameservers': [], 'host_routes': [],
        'ipv6_address_mode': None, 'ipv6_ra_mode': None,
        'subnetpool_id': None, 'service_types': [],
        'allocation_pools': [{'start': net.addresses[0],
                              'end': net.addresses[-1]}]})


def _group(cloud, group_id, name):
    """Both directions open; of 'web' only HTTPS is, 'office' to two networks,
    'members' to its own servers."""
    rules = [{'id': fixed_id('rule %s %s' % (name, i)), 'direction': i,
              'ethertype': 'IPv4', 'protocol': None, 'port_range_min': None,
              'port_range_max': None, 'remote_ip_prefix': None,
              'remote_group_id': None, 'security_group_id': group_id,
              'project_id': cloud.project_id} for i in ('ingress', 'egress')]
    if name == 'web':
        rules[0].update(protocol='tcp', port_range_min=443, port_range_max=443)
    elif name == 'office':
        rules[0].update(protocol='tcp', remote_ip_prefix='192.0.2.0/24')
        rules.append(dict(rules[0], id=fixed_id('rule office 6'),
                          ethertype='IPv6', remote_ip_prefix='2001:db8::/32'))
    elif name == 'members':
        rules[0].update(remote_group_id=group_id)
    return dict(_common(cloud, name), id=group_id, stateful=True,
                security_group_rules=rules)


def _port(cloud, port):
    server = cloud.servers.get(port['device_id'])
    up = server is not None and server.status == 'ACTIVE'
    net = port['network']
    return dict(_common(cloud, port['name']), **{
        'id': port['id'], 'network_id': net.id, 'mac_address': port['mac'],
        'status': 'ACTIVE' if up else 'DOWN', 'admin_state_up': True,
        'description': port['description'],
        'device_id': port['device_id'],
        'device_owner': 'compute:nova' if port['device_id'] else '',
        'created_at': port['created_at'],
        'security_groups': [i for i, n in cloud.groups.items()
                            if n in port['groups']],
        'fixed_ips': [{'subnet_id': net.subnet_id, 'ip_address': a}
                      for a in port['addresses']],
        'allowed_address_pairs': [], 'extra_dhcp_opts': [],
        'binding:vnic_type': 'normal', 'port_security_enabled': True})


def _floating(cloud, fip):
    port = cloud.ports.get(fip['port_id'])
    return dict(_common(cloud, ''), **{
        'id': fip['id'], 'floating_ip_address': fip['address'],
        'floating_network_id': cloud.networks['public'].id,
        'port_id': fip['port_id'], 'description': fip['description'],
        'fixed_ip_address': port['alive'][0] if port else None,
        'router_id': fixed_id('router') if port else None,
        'status': 'ACTIVE' if port else 'DOWN',
        'created_at': fip['created_at'], 'port_details': None,
        'qos_policy_id': None, 'dns_domain': '', 'dns_name': ''})


def _everything(cloud, kind):
    """All resources of a kind, as the API shows them."""
    if kind == 'networks':
        return [_network(cloud, n) for n in cloud.networks.values()]
    if kind == 'subnets':
        return [_subnet(cloud, n) for n in cloud.networks.values()]
    if kind == 'ports':
        return [_port(cloud, p) for p in cloud.ports.values()]
    if kind == 'floatingips':
        return [_floating(cloud, f) for f in cloud.floatingips.values()]
    groups = [_group(cloud, *g) for g in cloud.groups.items()]
    if kind == 'security-groups':
        return groups
    if kind == 'security-group-rules':
        return [r for g in groups for r in g['security_group_rules']]
    if kind in ('routers', 'agents', 'availability_zones', 'subnetpools',
                'address-scopes'):
        return []
    raise ApiError(404, 'The resource could not be found.')


def _text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def _matches(item, key, values):
    if key == 'fixed_ips':
        wanted = [v.partition('=')[2] for v in values]
        return any(w in f.values() for w in wanted for f in item[key])
    if key not in item:
        return True             # filters that we do not know
    return _text(item[key]) in [v.lower() if v in ('True', 'False') else v
                                for v in values]


def listing(cloud, req, kind):
    found = _everything(cloud, kind)
    for key, values in req.query.items():
        if key not in SPECIAL:
            found = [i for i in found if _matches(i, key, values)]
    if 'fields' in req.query:
        found = [{k: i[k] for k in req.query['fields'] if k in i}
                 for i in found]
    return 200, {kind.replace('-', '_'): found}


def _single(kind):
    return kind.replace('-', '_')[:-1]


def show(cloud, _req, kind, which):
    for item in _everything(cloud, kind):
        if item['id'] == which:
            return 200, {_single(kind): item}
    raise ApiError(404, '%s %s could not be found.'
                   % (_single(kind).replace('_', ' ').capitalize(), which))


def create_port(cloud, req):
    wish = req.body['port']
    net = cloud.network(wish.get('network_id'))
    if net is None:
        raise ApiError(404, 'Network %s could not be found.'
                       % wish.get('network_id'))
    groups = [cloud.groups.get(g, g)
              for g in wish.get('security_groups', [])] or ['default']
    port = cloud.new_port(net, '', wish.get('name', ''), groups)
    port['description'] = wish.get('description', '')
    return 201, {'port': _port(cloud, port)}


def update_port(cloud, req, which):
    port = _find(cloud.ports, 'Port', which)
    for key in ('name', 'description', 'device_id'):
        port[key] = req.body['port'].get(key, port[key])
    return 200, {'port': _port(cloud, port)}


def delete_port(cloud, _req, which):
    port = _find(cloud.ports, 'Port', which)
    cloud.drop_port(port)
    for server in cloud.servers.values():
        if port in server.ports:
            server.ports.remove(port)
            _readdress(cloud, server)
    return 204, None


def _find(things, what, which):
    if which not in things:
        raise ApiError(404, '%s %s could not be found.' % (what, which))
    return things[which]


def _readdress(cloud, server):
    if server is not None and server.guest is not None:
        cloud.timers.after(0, server.guest.readdress)


def _associate(cloud, fip, port_id):
    """Moves a floating address to a port, or to none."""
    if port_id is not None:
        _find(cloud.ports, 'Port', port_id)
    for moved in (fip['port_id'], port_id):
        port = cloud.ports.get(moved)
        fip['port_id'] = port_id
        if port:
            _readdress(cloud, cloud.servers.get(port['device_id']))


def create_floating(cloud, req):
    wish = req.body['floatingip']
    public = cloud.networks['public']
    if wish.get('floating_network_id') != public.id:
        raise ApiError(400, 'Bad floatingip request: Network %s is not a '
                       'valid external network.'
                       % wish.get('floating_network_id'))
    if 0 <= cloud.quota('floatingip') <= len(cloud.floatingips):
        raise ApiError(409, "Quota exceeded for resources: ['floatingip'].")
    if wish.get('port_id'):
        _find(cloud.ports, 'Port', wish['port_id'])
    fip = {'id': new_id(), 'address': public.allocate(), 'port_id': None,
           'description': wish.get('description', ''), 'created_at': iso()}
    cloud.floatingips[fip['id']] = fip
    if wish.get('port_id'):
        _associate(cloud, fip, wish['port_id'])
    return 201, {'floatingip': _floating(cloud, fip)}


def update_floating(cloud, req, which):
    fip = _find(cloud.floatingips, 'Floating IP', which)
    wish = req.body['floatingip']
    fip['description'] = wish.get('description', fip['description'])
    if 'port_id' in wish:
        _associate(cloud, fip, wish['port_id'])
    return 200, {'floatingip': _floating(cloud, fip)}


def delete_floating(cloud, _req, which):
    fip = _find(cloud.floatingips, 'Floating IP', which)
    _associate(cloud, fip, None)
    del cloud.floatingips[which]
    cloud.networks['public'].used.discard(fip['address'])
    return 204, None


def quotas(cloud, _req, _project):
    quota = {i: -1 for i in ('network', 'subnet', 'port', 'router',
                             'security_group', 'security_group_rule',
                             'subnetpool', 'rbac_policy')}
    quota['floatingip'] = cloud.quota('floatingip')
    return 200, {'quota': quota}


OPEN = ('/network',)
ROUTES = (
    ('GET', '', versions), ('GET', '/v2.0', version),
    ('GET', '/v2.0/extensions', extensions),
    ('GET', '/v2.0/extensions/([^/]+)', extension),
    ('GET', '/v2.0/quotas/([^/]+)', quotas),
    ('POST', '/v2.0/ports', create_port),
    ('PUT', '/v2.0/ports/([^/]+)', update_port),
    ('DELETE', '/v2.0/ports/([^/]+)', delete_port),
    ('POST', '/v2.0/floatingips', create_floating),
    ('PUT', '/v2.0/floatingips/([^/]+)', update_floating),
    ('DELETE', '/v2.0/floatingips/([^/]+)', delete_floating),
    ('GET', '/v2.0/([a-z_-]+)', listing),
    ('GET', '/v2.0/([a-z_-]+)/([^/]+)', show),
)
