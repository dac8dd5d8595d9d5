#!/usr/bin/env python3
"""probe.py METHOD PATH [BODY]: one request to the cloud of OS_AUTH_URL, with a
token of its own; prints the status and the answer. For cloud.bats, where the
real client would only cost time.

`probe.py create NAME[,NAME...] [JSON]` makes servers;
JSON has more of the body's keys, and "net", the network's name; prints ids."""
import http.client
import json
import os
import sys
from urllib.parse import urlsplit

ENV = os.environ
WHERE = urlsplit(ENV['OS_AUTH_URL']).netloc


def ask(method, path, body=None, token=None):
    conn = http.client.HTTPConnection(WHERE, timeout=20)
    conn.request(method, path, body and json.dumps(body),
                 {'X-Auth-Token': token or ''})
    answer = conn.getresponse()
    return answer, answer.read().decode()


def login():
    answer, text = ask('POST', '/identity/v3/auth/tokens', {'auth': {
        'identity': {'methods': ['password'], 'password': {'user': {
            'name': ENV['OS_USERNAME'], 'password': ENV['OS_PASSWORD'],
            'domain': {'name': 'Default'}}}}}})
    if answer.status != 201:
        sys.exit('%d %s' % (answer.status, text))
    return answer.headers['X-Subject-Token']


def main():
    token = login()
    if sys.argv[1] == 'create':
        names = sys.argv[2].split(',')
        extra = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
        nets = json.loads(ask('GET', '/network/v2.0/networks?name=%s' %
                              extra.pop('net', 'ci-net'), None, token)[1])
        images = json.loads(ask('GET', '/image/v2/images', None, token)[1])
        for name in names:
            answer, text = ask('POST', '/compute/v2.1/servers', {
                'server': dict({
                    'name': name, 'flavorRef': '1', 'key_name': 'ci-key',
                    'imageRef': images['images'][0]['id'], 'networks':
                    [{'uuid': nets['networks'][0]['id']}]}, **extra)}, token)
            if answer.status != 202:
                sys.exit('%d %s' % (answer.status, text))
            print(json.loads(text)['server']['id'])
        return
    body = json.loads(sys.argv[3]) if len(sys.argv) > 3 else None
    try:
        answer, text = ask(sys.argv[1], sys.argv[2], body, token)
    except OSError as e:
        sys.exit(type(e).__name__)
    print(answer.status, text)


main()
