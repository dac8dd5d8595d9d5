"""Fills the cloud. seed.py identity: users, services; cloud: flavors, images,
networks, quotas, the security group and the key pair."""
import ipaddress
import os
import sys

import openstack

S = os.environ['TEST_OPENSTACK']
AUTH = os.environ['SEED_AUTH_URL']
ADMIN_PW = os.environ['SEED_ADMIN_PW']
SERVICE_PW = os.environ['SEED_SERVICE_PW']
PORTS = {'compute': os.environ['SEED_NOVA'],
         'image': os.environ['SEED_GLANCE'],
         'network': os.environ['SEED_NEUTRON'],
         'placement': os.environ['SEED_PLACEMENT']}


def connect(project, user, password):
    return openstack.connect(
        auth_url=AUTH, project_name=project, username=user, password=password,
        user_domain_id='default', project_domain_id='default',
        region_name='RegionOne', identity_api_version='3',
        load_yaml_config=False, load_envvars=False)


def identity():
    c = connect('admin', 'admin', ADMIN_PW)
    i = c.identity
    service = i.find_project('service') or i.create_project(
        name='service', domain_id='default')
    admin, member = i.find_role('admin'), i.find_role('member')
    service_role = i.find_role('service') or i.create_role(name='service')
    for name in ('nova', 'neutron', 'glance', 'placement'):
        user = i.find_user(name) or i.create_user(
            name=name, password=SERVICE_PW, domain_id='default')
        i.assign_project_role_to_user(service, user, admin)
        i.assign_project_role_to_user(service, user, service_role)
    for project in ('ci', 'ci-tight'):
        p = i.find_project(project) or i.create_project(
            name=project, domain_id='default')
        user = i.find_user('ci') or i.create_user(
            name='ci', password='ci-secret', domain_id='default')
        i.assign_project_role_to_user(p, user, member)
    have = {(s.type): s for s in i.services()}
    for kind, name, url in (
            ('compute', 'nova', 'http://127.0.0.1:%s/v2.1'),
            ('image', 'glance', 'http://127.0.0.1:%s'),
            ('network', 'neutron', 'http://127.0.0.1:%s'),
            ('placement', 'placement', 'http://127.0.0.1:%s')):
        if kind in have:
            continue
        s = i.create_service(type=kind, name=name)
        for interface in ('public', 'internal', 'admin'):
            i.create_endpoint(service_id=s.id, interface=interface,
                              url=url % PORTS[kind], region_id='RegionOne')


def image(c, name, path, nth=0, **properties):
    have = [x for x in c.image.images(name=name)]
    if len(have) > nth:
        return have[nth]
    return c.image.create_image(
        name=name, filename=path, disk_format='raw', container_format='bare',
        visibility='public', allow_duplicates=True, **properties)


def subnet(c, network, name, cidr, is_shared=True, **more):
    net = c.network.find_network(network) or c.network.create_network(
        name=network, is_shared=is_shared, provider_network_type='local',
        **more)
    cidr = ipaddress.ip_network(cidr)
    return c.network.find_subnet(name) or c.network.create_subnet(
        name=name, network_id=net.id, ip_version=cidr.version, cidr=str(cidr),
        is_dhcp_enabled=False, gateway_ip=str(cidr[1]))


def cloud():
    c = connect('admin', 'admin', ADMIN_PW)
    for name, ram, cpu, disk in (('m1.tiny', 128, 1, 1),
                                 ('m1.small', 512, 1, 2),
                                 ('m1.medium', 1024, 2, 4),
                                 ('m1.absurd', 900000, 64, 10)):
        if not c.compute.find_flavor(name):
            c.compute.create_flavor(name=name, ram=ram, vcpus=cpu, disk=disk,
                                    is_public=True)
    dummy = os.path.join(S, 'dummy.img')
    with open(dummy, 'wb') as f:
        f.truncate(1 << 20)
    for nth, colour in enumerate(('first', 'second')):
        image(c, 'builder', dummy, nth, note=colour)
    image(c, 'builder-one', dummy)
    project = c.identity.find_project('ci')
    v4 = subnet(c, 'ci-net', 'ci-subnet', os.environ['SEED_NET_CIDR'])
    dual = subnet(c, 'ci-dual', 'ci-dual4', os.environ['SEED_DUAL_CIDR'])
    subnet(c, 'ci-dual', 'ci-dual6', os.environ['SEED_DUAL6_CIDR'])
    subnet(c, 'public', 'public-subnet', os.environ['SEED_PUBLIC_CIDR'],
           is_shared=False, is_router_external=True)
    if not c.network.find_router('ci-router'):
        router = c.network.create_router(
            name='ci-router', project_id=project.id, external_gateway_info={
                'network_id': c.network.find_network('public').id})
        for s in (v4, dual):
            c.network.add_interface_to_router(router, subnet_id=s.id)
    tight = c.identity.find_project('ci-tight')
    c.compute.put('/os-quota-sets/' + tight.id,
                  json={'quota_set': {'instances': 1, 'cores': 2}})
    c.network.put('/quotas/' + tight.id, json={'quota': {'floatingip': 0}})
    u = connect('ci', 'ci', 'ci-secret')
    group = u.network.find_security_group('ci') or \
        u.network.create_security_group(name='ci')
    rules = list(u.network.security_group_rules(security_group_id=group.id,
                                                direction='ingress'))
    if not rules:
        for proto, port in (('tcp', 22), ('icmp', None)):
            u.network.create_security_group_rule(
                security_group_id=group.id, direction='ingress',
                ether_type='IPv4', protocol=proto, port_range_min=port,
                port_range_max=port)
    with open(os.path.join(S, 'id_ed25519.pub')) as f:
        key = f.read()
    if not u.compute.find_keypair('ci-key'):
        u.compute.create_keypair(name='ci-key', public_key=key)


{'identity': identity, 'cloud': cloud}[sys.argv[1]]()
