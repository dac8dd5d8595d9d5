# shellcheck shell=bash disable=SC2153
# conf.sh - writes every configuration file from the variables of env.sh.
db() { echo "mysql+pymysql://root@localhost/$1?unix_socket=$S/run/mysql.sock&charset=utf8"; }
authtoken() { # USER
    cat <<X
[keystone_authtoken]
www_authenticate_uri = http://$IP:$KEYSTONE_PORT/v3
auth_url = http://$IP:$KEYSTONE_PORT/v3
auth_type = password
project_domain_id = default
user_domain_id = default
project_name = service
username = $1
password = $SERVICE_PW
service_token_roles_required = true
X
}
client() { # SECTION USER
    cat <<X
[$1]
auth_url = http://$IP:$KEYSTONE_PORT/v3
auth_type = password
project_domain_id = default
user_domain_id = default
project_name = service
username = $2
password = $SERVICE_PW
region_name = RegionOne
X
}
mkdir -p "$S"/{etc,log,run,mysql,rabbit,keystone,glance/images,nova,neutron,lock}

cat >"$E/my.cnf" <<X
[mariadbd]
user = root
datadir = $S/mysql
socket = $S/run/mysql.sock
pid-file = $S/run/mariadbd.own
tmpdir = $S/mysql
skip-networking
skip-grant-tables
skip-name-resolve
character-set-server = utf8
max_connections = 600
innodb_buffer_pool_size = 256M
innodb_flush_log_at_trx_commit = 0
innodb_doublewrite = 0
log-error = $S/log/mariadb.log
X
cat >"$E/rabbitmq.conf" <<X
listeners.tcp.local = $IP:$RABBIT_PORT
log.file.level = warning
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 100MB
X
cat >"$E/rabbit-advanced.config" <<X
[{kernel, [{inet_dist_use_interface, {127,0,0,1}}]}].
X
echo '[].' >"$E/rabbit-plugins"

cat >"$E/keystone.conf" <<X
[DEFAULT]
log_file = $S/log/keystone.log
[database]
connection = $(db keystone)
[token]
provider = fernet
expiration = 86400
[fernet_tokens]
key_repository = $S/keystone/fernet
[credential]
key_repository = $S/keystone/credential
[oslo_policy]
policy_dirs = $E/none
X

cat >"$E/glance.conf" <<X
[DEFAULT]
bind_host = $IP
bind_port = $GLANCE_PORT
workers = 1
log_file = $S/log/glance.log
enabled_backends = fs:file
show_multiple_locations = false
node_staging_uri = file://$S/glance/staging
image_cache_dir = $S/glance/cache
[database]
connection = $(db glance)
[glance_store]
default_backend = fs
[fs]
filesystem_store_datadir = $S/glance/images
[os_glance_staging_store]
filesystem_store_datadir = $S/glance/staging
[os_glance_tasks_store]
filesystem_store_datadir = $S/glance/tasks
[paste_deploy]
flavor = keystone
config_file = $D/usr/share/glance-common/glance-api-paste.ini
[oslo_concurrency]
lock_path = $S/lock
$(authtoken glance)
X
mkdir -p "$S"/glance/{staging,tasks,cache}

cat >"$E/placement.conf" <<X
[DEFAULT]
log_file = $S/log/placement.log
[placement_database]
connection = $(db placement)
sync_on_startup = false
[api]
auth_strategy = keystone
$(authtoken placement)
X

nova_common() { # LOGNAME HOST
    cat <<X
[DEFAULT]
transport_url = rabbit://guest:guest@$IP:$RABBIT_PORT/
my_ip = $IP
host = $2
log_file = $S/log/$1.log
state_path = $S/nova
enabled_apis = osapi_compute,metadata
osapi_compute_listen = $IP
osapi_compute_listen_port = $NOVA_PORT
osapi_compute_workers = 2
metadata_listen = $IP
metadata_listen_port = $META_PORT
metadata_workers = 1
[wsgi]
api_paste_config = $D/usr/share/nova-common/api-paste.ini
[api]
auth_strategy = keystone
[api_database]
connection = $(db nova_api)
[database]
connection = $(db nova_cell1)
[quota]
instances = 500
cores = 2000
ram = 1024000
key_pairs = 200
server_groups = 100
[conductor]
workers = 1
[scheduler]
workers = 1
discover_hosts_in_cells_interval = 10
[filter_scheduler]
track_instance_changes = true
[vnc]
enabled = false
[oslo_concurrency]
lock_path = $S/lock
[oslo_messaging_notifications]
driver = noop
[glance]
api_servers = http://$IP:$GLANCE_PORT
$(client neutron neutron)
$(client placement placement)
$(client service_user nova)
send_service_user_token = true
$(authtoken nova)
X
}
nova_common nova control >"$E/nova.conf"
nova_common nova-compute fake1 | sed "/^host = /a compute_driver = knobvirt.KnobDriver\\ninstances_path = $S/nova/fake1\\n\
sync_power_state_interval = -1\\nmax_concurrent_builds = 0" >"$E/nova-compute.conf"
mkdir -p "$S/nova/fake1"

cat >"$E/neutron.conf" <<X
[DEFAULT]
transport_url = rabbit://guest:guest@$IP:$RABBIT_PORT/
bind_host = $IP
bind_port = $NEUTRON_PORT
host = control
log_file = $S/log/neutron.log
state_path = $S/neutron
api_paste_config = $D/usr/share/neutron-common/api-paste.ini
core_plugin = ml2
service_plugins = router
api_workers = 1
rpc_workers = 1
rpc_state_report_workers = 0
notify_nova_on_port_status_changes = true
notify_nova_on_port_data_changes = true
send_events_interval = 1
dhcp_agent_notification = true
[agent]
root_helper = env
[database]
connection = $(db neutron)
[quotas]
quota_network = -1
quota_subnet = -1
quota_port = 2000
quota_security_group = -1
quota_floatingip = 50
quota_router = 20
quota_security_group_rule = -1
[oslo_concurrency]
lock_path = $S/lock
[oslo_messaging_notifications]
driver = noop
[privsep]
helper_command = privsep-helper
$(client nova nova)
$(client placement placement)
$(authtoken neutron)
X
cat >"$E/ml2.ini" <<X
[ml2]
type_drivers = flat,local
tenant_network_types = local
mechanism_drivers = anyport
extension_drivers = port_security
[ml2_type_flat]
flat_networks = *
[securitygroup]
enable_security_group = true
X
mkdir -p "$E/none"
