"""nova's fake driver plus delays and failures told by a knob file.

$TEST_OPENSTACK/knobs.json holds a list; the first entry whose "match"
(a regular expression) is found in the server's name applies:
  spawn_delay   seconds between BUILD and ACTIVE
  spawn_fail    message of an ordinary build failure (nova tries other hosts,
                then gives up)
  spawn_abort   message of a failure nova does not retry
  delete_delay  seconds a delete takes
  delete_fail   message: the delete fails and leaves the server in ERROR
  console       text of the console log (else what the sandbox has printed)
  boot          (read by guestd) seconds between ACTIVE and ssh
"""
import json
import os
import re
import time

from nova import exception
from nova.virt import fake


def knobs(name):
    try:
        with open(os.path.join(os.environ['TEST_OPENSTACK'],
                               'knobs.json')) as f:
            rules = json.load(f)
    except (OSError, ValueError, KeyError):
        return {}
    for rule in rules:
        if re.search(rule.get('match', ''), name or ''):
            return rule
    return {}


class KnobDriver(fake.FakeDriver):

    def spawn(self, context, instance, *args, **kwargs):
        k = knobs(instance.display_name)
        time.sleep(k.get('spawn_delay', 0))
        if k.get('spawn_abort'):
            raise exception.BuildAbortException(
                instance_uuid=instance.uuid, reason=k['spawn_abort'])
        if k.get('spawn_fail'):
            raise exception.NovaException(k['spawn_fail'])
        return super().spawn(context, instance, *args, **kwargs)

    def destroy(self, context, instance, *args, **kwargs):
        k = knobs(instance.display_name)
        time.sleep(k.get('delete_delay', 0))
        if k.get('delete_fail'):
            raise exception.NovaException(k['delete_fail'])
        return super().destroy(context, instance, *args, **kwargs)

    def get_console_output(self, context, instance):
        k = knobs(instance.display_name)
        if k.get('console'):
            return k['console']
        try:
            with open(os.path.join(os.environ['TEST_OPENSTACK'], 'guests',
                                   instance.uuid, 'console.log'), 'rb') as f:
                return f.read()
        except OSError:
            return b''
