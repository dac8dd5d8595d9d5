# shellcheck shell=bash
# env.sh - what up, down and status share: where everything is, and the keeping of daemons.
S=${TEST_OPENSTACK:-${TMPDIR:-/tmp}/novajob-openstack} # all that is written lies below it
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin # Debian's Python, whatever else is installed
D=$S/dist                                           # unpacked Debian packages: scripts and paste files of the services
E=$S/etc
IP=127.0.0.1
no_proxy=$IP,localhost${no_proxy:+,$no_proxy} NO_PROXY=$no_proxy
export PATH no_proxy NO_PROXY PYTHONUNBUFFERED=1 LC_ALL=C.UTF-8
unset PYTHONPATH PYTHONHOME "${!OS_@}"
# Each is 1000 above the usual one, so that another OpenStack on this machine is not taken for ours.
RABBIT_PORT=6672 RABBIT_DIST_PORT=26672 EPMD_PORT=5369 KEYSTONE_PORT=6000 GLANCE_PORT=10292 PLACEMENT_PORT=9778
NOVA_PORT=9774 META_PORT=9775 NEUTRON_PORT=10696
NET_CIDR=127.83.0.0/16 PUBLIC_CIDR=127.84.0.0/16 DUAL_CIDR=127.85.0.0/16 DUAL6_CIDR=fd00:83::/64
SERVICE_PW=service-secret ADMIN_PW=admin-secret

say() { printf '%s %s\n' "$(date +%T)" "$*"; }
die() {
	say "FAILED: $*" >&2
	exit 1
}

# A pid counts as ours only while its start time is the one that was noted.
born() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
alive() { # NAME
	local pid since
	read -r pid since 2>/dev/null <"$S/run/$1.pid" || return 1
	[[ -n $since && $(born "$pid") == "$since" ]]
}
start() { # NAME COMMAND...: a daemon in a session of its own, log in $S/log
	local name=$1 pid
	shift
	alive "$name" && return 0
	setsid "$@" >>"$S/log/$name.out" 2>&1 </dev/null 9>&- &
	pid=$!
	sleep 0.1
	echo "$pid $(born $pid)" >"$S/run/$name.pid"
}
stop() { # SECONDS NAME...: asks all at once, insists after SECONDS
	local n=$1 name pid end
	shift
	for name in "$@"; do
		alive "$name" || continue
		read -r pid _ <"$S/run/$name.pid"
		kill -TERM "$pid" 2>/dev/null
	done
	end=$((SECONDS + n))
	for name in "$@"; do
		while alive "$name" && ((SECONDS < end)); do sleep 0.2; done
		if alive "$name"; then
			read -r pid _ <"$S/run/$name.pid"
			kill -KILL -- "-$pid" 2>/dev/null
		fi
		rm -f "$S/run/$name.pid"
	done
}
wait_for() { # SECONDS WHAT COMMAND...
	local n=$1 what=$2 end=$((SECONDS + $1))
	shift 2
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || die "$what did not come up in ${n} s (logs: $S/log)"
		sleep 0.3
	done
}
port_open() { (exec 3<>"/dev/tcp/$IP/$1") 2>/dev/null; }
amqp_up() { # rabbit itself answers, not just some listener
	local c
	exec 4<>"/dev/tcp/$IP/$RABBIT_PORT" || return 1
	printf 'AMQP\x00\x00\x09\x01' >&4
	IFS= read -r -N 1 -t 3 -u 4 c
	exec 4>&-
	[[ $c == $'\x01' ]]
} 2>/dev/null
sql() { mariadb --no-defaults --socket="$S/run/mysql.sock" -uroot -N -B "$@"; }
