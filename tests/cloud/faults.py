"""DIR/knobs.json: which requests and servers shall go wrong, and how.

The file is looked at again at each event. What has been counted (`count`,
`skip`) is kept in memory and starts anew when the file changes.
"""
import json
import os
import re
import sys
import threading

NUMBER = (int, float)
REQUEST = {'request': str, 'server': str, 'count': int, 'skip': int,
           'delay': NUMBER, 'status': int, 'message': str, 'headers': dict,
           'html': bool, 'reset': str, 'hang': (bool, str),
           'then_status': int, 'late': NUMBER}
SERVER = {'match': str, 'spawn_delay': NUMBER, 'boot': NUMBER,
          'spawn_fail': str, 'delete_fail': str, 'delete_delay': NUMBER,
          'console': str, 'no_sshd': bool, 'sshd': list, 'wrong_key': bool,
          'key_delay': NUMBER, 'lose_after': NUMBER, 'shutdown': NUMBER,
          'penalty': (bool,) + NUMBER}
GLOBAL = {'quota': dict, 'page': int, 'auth': int, 'token_life': NUMBER}


def kind(rule):
    return REQUEST if 'request' in rule else SERVER if 'match' in rule \
        else GLOBAL


def _check_rule(rule):
    if not isinstance(rule, dict) or not rule:
        raise ValueError('a rule is an object that is not empty')
    known = kind(rule)
    for key, value in rule.items():
        if key not in known:
            raise ValueError('unknown key "%s"; this kind of rule has: %s'
                             % (key, ' '.join(known)))
        if not isinstance(value, known[key]) or (
                isinstance(value, bool) and known[key] in (int, NUMBER)):
            raise ValueError('"%s": wrong type' % key)
    for key in ('request', 'server', 'match'):
        try:
            re.compile(rule.get(key, ''))
        except re.error as e:
            raise ValueError('"%s": %s' % (key, e)) from e
    if rule.get('reset', 'before') not in ('before', 'after'):
        raise ValueError('"reset" is "before" or "after"')
    if rule.get('hang', True) not in (True, False, 'after'):
        raise ValueError('"hang" is true or "after"')
    if 'late' in rule and 'then_status' not in rule:
        raise ValueError('"late" needs "then_status"')
    if not all(isinstance(i, str) for i in rule.get('sshd', [])):
        raise ValueError('"sshd" is an array of lines')
    if not all(isinstance(i, int) for i in rule.get('quota', {}).values()):
        raise ValueError('"quota" is an object of whole numbers')
    if not all(isinstance(i, str) for i in rule.get('headers', {}).values()):
        raise ValueError('"headers" is an object of strings')


def check(text):
    """The rules in a text; raises ValueError with what is wrong in it."""
    rules = json.loads(text)
    if not isinstance(rules, list):
        raise ValueError('an array of rules is wanted')
    for number, rule in enumerate(rules, 1):
        try:
            _check_rule(rule)
        except ValueError as e:
            raise ValueError('rule %d: %s' % (number, e)) from e
    return rules


def replace(path, text):
    """Writes a checked text as the new knobs file."""
    check(text)
    temp = '%s.%d' % (path, os.getpid())
    with open(temp, 'w', encoding='utf-8') as f:
        f.write(text if text.endswith('\n') else text + '\n')
    os.replace(temp, path)


class Knobs:
    def __init__(self, path):
        self._path = path
        self._lock = threading.Lock()
        self._stamp = None
        self._rules = []
        self._seen = {}

    def _load(self):
        """Called with the lock held."""
        try:
            st = os.stat(self._path)
            stamp = (st.st_mtime_ns, st.st_ino, st.st_size)
        except FileNotFoundError:
            stamp = None
        if stamp == self._stamp:
            return
        self._stamp, self._rules, self._seen = stamp, [], {}
        if stamp is None:
            return
        try:
            with open(self._path, encoding='utf-8') as f:
                self._rules = check(f.read())
        except (OSError, ValueError) as e:
            print('%s: %s: no rule is in force' % (self._path, e),
                  file=sys.stderr, flush=True)

    def request(self, method, path, query, name):
        """The rule that this request meets, or None. Counts."""
        plain = '%s %s' % (method, path)
        full = '%s?%s' % (plain, query) if query else plain
        with self._lock:
            self._load()
            for number, rule in enumerate(self._rules):
                if kind(rule) is not REQUEST:
                    continue
                wanted = re.compile(rule['request'])
                if not (wanted.search(plain) or wanted.search(full)):
                    continue
                if 'server' in rule and not (
                        name and re.search(rule['server'], name)):
                    continue
                seen = self._seen[number] = self._seen.get(number, 0) + 1
                skip = rule.get('skip', 0)
                if skip < seen <= skip + rule.get('count', seen):
                    return rule
        return None

    def server(self, name):
        """The rule of a server, {} if there is none."""
        with self._lock:
            self._load()
            for rule in self._rules:
                if kind(rule) is SERVER and re.search(rule['match'], name):
                    return rule
        return {}

    def setting(self, key, default=None):
        with self._lock:
            self._load()
            for rule in self._rules:
                if kind(rule) is GLOBAL and key in rule:
                    return rule[key]
        return default
