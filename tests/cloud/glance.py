"""Image v2: the list with its filters and order, and one image."""
from state import ApiError

PREFIX = '/image'


def error(status, message):
    """glance answers with a page."""
    return ('<html>\n <head>\n  <title>%d Error</title>\n </head>\n <body>\n'
            '  <h1>%d Error</h1>\n  %s<br /><br />\n </body>\n</html>'
            % (status, status, message))


def versions(cloud, _req):
    return 300, {'versions': [
        {'id': 'v2.%d' % i, 'status': 'CURRENT' if i == 15 else 'SUPPORTED',
         'links': [{'rel': 'self', 'href': cloud.url + PREFIX + '/v2/'}]}
        for i in (15, 9, 7, 6, 5, 4, 3, 2, 1, 0)]}


def _view(cloud, image):
    view = {'status': 'active', 'visibility': 'public', 'min_disk': 0,
            'min_ram': 0, 'size': 1048576, 'virtual_size': 1048576,
            'disk_format': 'raw', 'container_format': 'bare', 'tags': [],
            'checksum': '0' * 32, 'owner': cloud.project_id,
            'protected': False, 'os_hidden': False,
            'os_hash_algo': None, 'os_hash_value': None,
            'schema': '/v2/schemas/image',
            'self': '/v2/images/' + image['id'],
            'file': '/v2/images/%s/file' % image['id']}
    view.update(image)
    return view


def _sorted(found, req):
    order = req.query.get('sort', [''])[0]
    keys = [i.partition(':')[::2] for i in order.split(',') if i]
    if not keys:
        keys = list(zip(req.query.get('sort_key', ['created_at']),
                        req.query.get('sort_dir', ['desc']) + ['desc'] * 9))
    for key, way in reversed(keys):
        if any(key not in i for i in found):
            raise ApiError(400, 'Invalid sort key: %s.' % key)
        found.sort(key=lambda i, k=key: str(i[k]), reverse=way != 'asc')
    return found


def images(cloud, req):
    special = ('sort', 'sort_key', 'sort_dir', 'limit', 'marker', 'tag',
               'member_status', 'os_hidden')
    found = [_view(cloud, i) for i in cloud.images.values()]
    for key, values in req.query.items():
        if key not in special:
            wanted = values[0]
            if wanted.startswith('in:'):
                wanted = [i.strip('"') for i in wanted[3:].split(',')]
            else:
                wanted = [wanted]
            found = [i for i in found if str(i.get(key)) in wanted]
        elif key == 'tag':
            found = [i for i in found if values[0] in i['tags']]
    found = _sorted(found, req)
    if 'marker' in req.query:
        ids = [i['id'] for i in found]
        if req.query['marker'][0] not in ids:
            raise ApiError(400, 'Invalid marker')
        found = found[ids.index(req.query['marker'][0]) + 1:]
    answer = {'images': found, 'first': '/v2/images',
              'schema': '/v2/schemas/images'}
    limit = int(req.query.get('limit', ['25'])[0])
    if len(found) > limit:
        answer['images'] = found[:limit]
        if limit:
            answer['next'] = '/v2/images?marker=%s&limit=%d' % (
                found[limit - 1]['id'], limit)
    return 200, answer


def image(cloud, _req, image_id):
    if image_id not in cloud.images:
        raise ApiError(404, 'No image found with ID %s' % image_id)
    return 200, _view(cloud, cloud.images[image_id])


OPEN = ('/image', '/image/versions')
ROUTES = (('GET', '', versions), ('GET', '/versions', versions),
          ('GET', '/v2/images', images), ('GET', '/v2/images/([^/]+)', image))
