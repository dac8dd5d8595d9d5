"""Identity v3: tokens for the user `ci` and for one application credential."""
import secrets
import time

from state import ApiError, fixed_id, iso

PREFIX = '/identity'
DENIED = 'The request you have made requires authentication.'


def error(status, message):
    return {'error': {'code': status, 'message': message,
                      'title': 'Unauthorized' if status == 401 else 'Error'}}


def _version(cloud):
    return {'id': 'v3.14', 'status': 'stable',
            'updated': '2020-04-07T00:00:00Z',
            'links': [{'rel': 'self', 'href': cloud.url + PREFIX + '/v3/'}],
            'media-types': [{'base': 'application/json', 'type':
                             'application/vnd.openstack.identity-v3+json'}]}


def versions(cloud, _req):
    return 300, {'versions': {'values': [_version(cloud)]}}


def version(cloud, _req):
    return 200, {'version': _version(cloud)}


def catalog_entries(cloud):
    entries = []
    for kind, name, path in (('identity', 'keystone', '/identity'),
                             ('compute', 'nova', '/compute/v2.1'),
                             ('image', 'glance', '/image'),
                             ('network', 'neutron', '/network')):
        entries.append({
            'id': fixed_id('service ' + kind), 'type': kind, 'name': name,
            'endpoints': [{'id': fixed_id('endpoint %s %s' % (kind, i)),
                           'interface': i, 'region': 'RegionOne',
                           'region_id': 'RegionOne',
                           'url': cloud.url + path}
                          for i in ('public', 'internal', 'admin')]})
    return entries


def _password_ok(cloud, given):
    user = given.get('password', {}).get('user', {})
    domain = user.get('domain', {})
    if user.get('password') != cloud.password:
        return False
    return user.get('id') == cloud.user_id or (
        user.get('name') == 'ci' and (domain.get('name') == 'Default'
                                      or domain.get('id') == 'default'))


def _check(cloud, auth):
    """Raises unless the credentials and the scope are right."""
    identity = auth.get('identity', {})
    methods = identity.get('methods', [])
    scope = auth.get('scope')
    if methods == ['application_credential']:
        given = identity.get('application_credential', {})
        if scope:
            raise ApiError(401, 'Application credentials cannot request a '
                           'scope.')
        good = (given.get('id') == cloud.app_id
                and given.get('secret') == cloud.app_secret)
    elif methods == ['token']:
        good = alive(cloud, identity.get('token', {}).get('id'))
    else:
        good = methods == ['password'] and _password_ok(cloud, identity)
    if not good:
        raise ApiError(401, DENIED)
    project = (scope or {}).get('project')
    if project and project.get('id') != cloud.project_id \
            and project.get('name') != 'ci':
        raise ApiError(401, DENIED)


def authenticate(cloud, req):
    refused = cloud.knobs.setting('auth')
    if refused:
        raise ApiError(refused, DENIED if refused == 401 else
                       'keystone is not well')
    _check(cloud, (req.body or {}).get('auth', {}))
    token = 'gAAAAA' + secrets.token_urlsafe(60)
    end = time.time() + cloud.knobs.setting('token_life', 86400)
    with cloud.lock:
        cloud.tokens[token] = end
    return 201, _token(cloud, end, req), {'X-Subject-Token': token}


def _token(cloud, end, req):
    methods = (req.body or {}).get('auth', {}).get('identity', {}).get(
        'methods', ['password'])
    domain = {'id': 'default', 'name': 'Default'}
    return {'token': {
        'methods': methods, 'audit_ids': [secrets.token_urlsafe(16)],
        'expires_at': iso(end, '.000000Z'), 'issued_at': iso(None,
                                                             '.000000Z'),
        'user': {'id': cloud.user_id, 'name': 'ci', 'domain': domain,
                 'password_expires_at': None},
        'project': {'id': cloud.project_id, 'name': 'ci', 'domain': domain},
        'is_domain': False,
        'roles': [{'id': fixed_id('member'), 'name': 'member'}],
        'catalog': catalog_entries(cloud)}}


def alive(cloud, token):
    with cloud.lock:
        return cloud.tokens.get(token, 0) > time.time()


def validate(cloud, req):
    token = req.headers.get('X-Subject-Token', '')
    if not alive(cloud, token):
        raise ApiError(404, 'Could not find token.')
    return 200, _token(cloud, cloud.tokens[token], req)


def revoke(cloud, req):
    with cloud.lock:
        cloud.tokens.pop(req.headers.get('X-Subject-Token'), None)
    return 204, None


def catalog(cloud, _req):
    return 200, {'catalog': catalog_entries(cloud), 'links': {}}


def _project(cloud):
    return {'id': cloud.project_id, 'name': 'ci', 'domain_id': 'default',
            'enabled': True, 'is_domain': False, 'parent_id': 'default',
            'description': '', 'tags': [], 'options': {}, 'links': {}}


def projects(cloud, req):
    name = req.query.get('name', ['ci'])[0]
    return 200, {'projects': [_project(cloud)] if name == 'ci' else [],
                 'links': {}}


def project(cloud, _req, which):
    if which != cloud.project_id:
        raise ApiError(404, 'Could not find project: %s.' % which)
    return 200, {'project': _project(cloud)}


OPEN = ('/identity', '/identity/v3')    # what needs no token
ROUTES = (
    ('GET', '', versions), ('GET', '/v3', version),
    ('POST', '/v3/auth/tokens', authenticate),
    ('GET', '/v3/auth/tokens', validate),
    ('DELETE', '/v3/auth/tokens', revoke),
    ('GET', '/v3/auth/catalog', catalog),
    ('GET', '/v3/projects', projects), ('GET', '/v3/auth/projects', projects),
    ('GET', '/v3/projects/([^/]+)', project),
)
