"""The part of cloud-init that matters here: `#cloud-config` with
ssh_authorized_keys and ssh_keys (YAML as people write it, or JSON), `#!`
scripts, both alone or in a MIME multi-part, gzip'ed or not.
"""
import base64
import binascii
import email
import gzip
import json
import re

KNOWN = ('ssh_authorized_keys', 'ssh_keys', 'ssh_deletekeys',
         'ssh_genkeytypes', 'disable_root')


class UserData:
    def __init__(self):
        self.authorized = []    # lines of authorized_keys
        self.host_keys = {}     # "ed25519_private" -> text
        self.scripts = []       # bytes
        self.ignored = []       # what was not understood


def parse(encoded):
    """What nova got as user_data (base64, or None) as a UserData."""
    found = UserData()
    if encoded:
        try:
            raw = base64.b64decode(encoded)
        except (binascii.Error, ValueError):
            found.ignored.append('user-data that is not base64')
            return found
        try:
            _part(raw, found)
        except (OSError, EOFError, LookupError, ValueError) as e:
            found.ignored.append('user-data: %s' % e)
    return found


def _part(raw, found):
    if raw[:2] == b'\x1f\x8b':
        raw = gzip.decompress(raw)
    if raw.startswith(b'#!'):
        found.scripts.append(raw)
        return
    text = raw.decode('utf-8', 'replace')
    if re.match(r'(?i)(content-type|mime-version):', text):
        for part in email.message_from_bytes(raw).walk():
            if not part.is_multipart():
                _part(part.get_payload(decode=True), found)
    elif text.startswith('#cloud-config'):
        _cloud_config(text, found)
    elif text.strip():
        found.ignored.append('a part that begins "%s"' % text[:20].strip())


def _cloud_config(text, found):
    body = text.split('\n', 1)[1] if '\n' in text else ''
    try:
        config = json.loads(body)
    except ValueError:
        config = _yaml(body)
    for key, value in config.items():
        if key == 'ssh_authorized_keys' and isinstance(value, list):
            found.authorized += value
        elif key == 'ssh_keys' and isinstance(value, dict):
            found.host_keys.update(value)
        elif key not in KNOWN:
            found.ignored.append('cloud-config key ' + key)


def _scalar(text):
    text = text.strip()
    if text.startswith(('"', '{')):
        try:
            return json.loads(text)
        except ValueError:
            return text.strip('"')
    if text.startswith("'"):
        return text.strip("'").replace("''", "'")
    return text.split(' #')[0].strip()


def _flow(text):
    """[a, "b, c"] as a list."""
    items = re.findall(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|[^,\[\]]+', text)
    return [_scalar(i) for i in items if i.strip()]


def _block(lines):
    """The lines of a `|` block, taken off `lines`."""
    taken = []
    while lines and (not lines[0].strip() or lines[0].startswith(' ')):
        depth = len(lines[0]) - len(lines[0].lstrip())
        if lines[0].strip() and taken and depth < taken[0][0]:
            break
        taken.append((depth, lines.pop(0)))
    depth = taken[0][0] if taken else 0
    return '\n'.join(l[depth:] for _, l in taken).rstrip('\n') + '\n'


def _children(lines):
    """The list or the map below a top-level key, taken off `lines`."""
    result, depth = None, None
    while lines:
        line = lines[0]
        if not line.strip() or line.lstrip().startswith('#'):
            lines.pop(0)
            continue
        here = len(line) - len(line.lstrip())
        item = re.match(r'\s*- +(.*)', line)
        if (here == 0 and not item) or (depth is not None and here < depth):
            break
        depth = here if depth is None else depth
        lines.pop(0)
        if here > depth:
            continue            # deeper than we understand
        if item:
            result = result if isinstance(result, list) else []
            result.append(_scalar(item[1]))
            continue
        pair = re.match(r'\s*([\w-]+)\s*:\s*(.*)', line)
        if pair:
            result = result if isinstance(result, dict) else {}
            result[pair[1]] = _block(lines) if pair[2][:1] in '|>' \
                and pair[2] else _scalar(pair[2])
    return result


def _yaml(text):
    """Top-level keys with scalars, flow lists, lists or maps of scalars."""
    lines, config = text.split('\n'), {}
    while lines:
        pair = re.match(r'([\w-]+)\s*:\s*(.*)', lines.pop(0))
        if not pair:
            continue
        key, value = pair[1], pair[2].strip()
        if value.startswith('['):
            while ']' not in value and lines:
                value += ' ' + lines.pop(0).strip()
            config[key] = _flow(value)
        elif value[:1] in ('|', '>'):
            config[key] = _block(lines)
        elif value and not value.startswith('#'):
            config[key] = _scalar(value)
        else:
            config[key] = _children(lines)
    return config
