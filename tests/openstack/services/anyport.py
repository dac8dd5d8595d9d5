"""ML2 mechanism driver: any port on a host named fake* binds at once."""
# Gives models_v2.Port its port_forwardings: without router plugins neutron
# lacks it for a while after a start, and answers port listings with 500.
from neutron.db.models import port_forwarding  # noqa
from neutron_lib import constants
from neutron_lib.plugins.ml2 import api


class AnyPort(api.MechanismDriver):

    def initialize(self):
        pass

    def bind_port(self, context):
        if not (context.host or '').startswith('fake'):
            return
        for segment in context.segments_to_bind:
            context.set_binding(segment[api.ID], 'other', {},
                                status=constants.PORT_STATUS_ACTIVE)
            return
