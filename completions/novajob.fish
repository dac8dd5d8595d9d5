# SPDX-License-Identifier: MIT
# fish completion for novajob(1). tests/words.bats compares it with `novajob __words`.

set -l commands config prepare run cleanup settings plan list sweep pool metrics doctor help

complete -c novajob -f
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a config -d 'stage: check the settings'
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a prepare -d 'stage: give the job a server'
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a run -d 'stage: run a script in the server'
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a cleanup -d 'stage: delete what the job owns'
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a settings -d 'show every setting'
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a plan -d 'show what would be done for a job'
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a list -d 'show the jobs and servers of this owner'
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a sweep -d 'delete servers that no stage could'
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a pool -d 'fill, show or empty the warm pool'
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a metrics -d 'print what was counted, for Prometheus'
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a doctor -d 'check everything a job will need'
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a help -d 'show the usage'
complete -c novajob -n "__fish_seen_subcommand_from help; and test (count (commandline -opc)) -eq 2" -a "$commands"
complete -c novajob -n "__fish_seen_subcommand_from run" -F
complete -c novajob -n "__fish_seen_subcommand_from settings plan" -l json -d 'print a JSON object'
complete -c novajob -n "__fish_seen_subcommand_from list sweep doctor" -l json -d 'print one JSON object per line'
complete -c novajob -n "__fish_seen_subcommand_from doctor" -l boot -d 'play one whole job'
complete -c novajob -n "__fish_seen_subcommand_from doctor" -l config -r -F -d 'config.toml of gitlab-runner'
complete -c novajob -n "__fish_seen_subcommand_from pool" -l json -d 'status: print one JSON object per line'
complete -c novajob -n "__fish_seen_subcommand_from pool; and not __fish_seen_subcommand_from fill status drain" -a 'fill status drain'
complete -c novajob -n "__fish_seen_subcommand_from sweep" -s n -l dry-run -d 'do nothing, say what would be done'

complete -c novajob -s h -l help -d 'show the usage'
complete -c novajob -s v -l verbose -d 'say more'
complete -c novajob -s V -l version -d 'show the version'
complete -c novajob -l settings -r -F -d 'read settings from this file'
complete -c novajob -l flavor -x -d 'flavor of the server'
complete -c novajob -l image -x -d 'image of the server'
complete -c novajob -l network -x -d 'network of the server'
complete -c novajob -l pool -x -d 'servers kept ready'
complete -c novajob -l pool-max-age -x -d 'how long a server may wait in the pool'
complete -c novajob -l floating-network -x -d 'network of floating addresses'
complete -c novajob -l security-group -x -d 'security group of the server'
complete -c novajob -l key-pair -x -d 'key pair of the cloud'
complete -c novajob -l username -x -d 'login name in the server'
complete -c novajob -l private-key -r -F -d 'file of the private key'
complete -c novajob -l ssh-timeout -x -d 'limit from ACTIVE to a login'
complete -c novajob -l ssh-port -x -d 'port of sshd in the server'
complete -c novajob -l ssh-config -r -F -d 'ssh_config file for ssh'
complete -c novajob -l create-timeout -x -d 'limit for a server to become ACTIVE'
complete -c novajob -l stop-grace -x -d 'from TERM to KILL for a script'
complete -c novajob -l stop-timeout -x -d 'limit for undoing after TERM'
complete -c novajob -l delete-by -x -a 'cleanup timer' -d 'who deletes a server'
complete -c novajob -l delete-wait -x -d 'how long cleanup looks for a deleted server'
complete -c novajob -l builds-dir -x -a '(__fish_complete_directories)' -d 'builds_dir told to the runner'
complete -c novajob -l cache-dir -x -a '(__fish_complete_directories)' -d 'cache_dir told to the runner'
complete -c novajob -l state-dir -x -a '(__fish_complete_directories)' -d 'where the records are'
complete -c novajob -l log-file -r -F -a journal -d 'where events go'
complete -c novajob -l log-format -x -a 'text json' -d 'how an event is written'
complete -c novajob -l owner -x -d 'name this host owns servers by'
complete -c novajob -l max-life -x -d 'longest life of a server'
complete -c novajob -l openstack -r -F -d 'the openstack program'
complete -c novajob -l ssh -r -F -d 'the ssh program'
complete -c novajob -l openstack-session -x -a 'yes no' -d 'one openstack process per stage'
complete -c novajob -l job-may-set -x -d 'settings a job may set'
complete -c novajob -l trust-variables -x -a 'yes no' -d "believe the job's variables"
complete -c novajob -l call-timeout -x -d 'limit for one call of openstack'
complete -c novajob -l alive-timeout -x -d 'when a silent connection is dead'
complete -c novajob -l busy-timeout -x -d 'how long prepare waits for quota or room'
complete -c novajob -l name-cache -x -d 'how long ids of names are believed'
complete -c novajob -l client-slots -x -d 'openstack processes at once on this host'
complete -c novajob -l sweep-grace -x -d 'when servers of other hosts are swept'
complete -c novajob -l availability-zone -x -d "availability zone of the server"
complete -c novajob -l address -x -a 'auto 4 6' -d "which address to log in at"
complete -c novajob -l properties -x -d "further properties of the server"
complete -c novajob -l description -x -d "description of the server"
complete -c novajob -l keys -x -a 'auto per-job shared' -d "keys of each job alone, or a key pair"
complete -c novajob -l key-delivery -x -a 'cloud-config script' -d "how the image takes a job's keys"
complete -c novajob -l user-data -r -F -d "file told to the server at its first boot"
complete -c novajob -l ssh-share -x -a 'yes no' -d 'the stages of a job share one ssh connection'
complete -c novajob -l config-drive -x -a 'yes no' -d "hand user-data over on a config drive"
complete -c novajob -l ssh-proxy-jump -x -d "bastion on the way to the servers"
complete -c novajob -l ssh-proxy-key -r -F -d "private key for the bastion"
complete -c novajob -l ssh-proxy-known-hosts -r -F -d "known_hosts file with the bastion's key"
complete -c novajob -l ssh-keygen -r -F -d "the ssh-keygen program"
complete -c novajob -l job-image -x -a 'map ignore refuse' -d "what becomes of image: in .gitlab-ci.yml"
complete -c novajob -l image-map -x -d "which image: is which image"
complete -c novajob -l max-ssh-timeout -x -d "longest ssh-timeout a job may set"
complete -c novajob -l allow-flavor -x -d "patterns of what a job may set flavor to"
complete -c novajob -l allow-image -x -d "patterns of what a job may set image to"
complete -c novajob -l allow-network -x -d "patterns of what a job may set network to"
complete -c novajob -l allow-security-group -x -d "patterns of what a job may set security-group to"
complete -c novajob -l allow-availability-zone -x -d "patterns of what a job may set availability-zone to"
complete -c novajob -l allow-key-pair -x -d "patterns of what a job may set key-pair to"
complete -c novajob -l allow-username -x -d "patterns of what a job may set username to"
complete -c novajob -l ready-command -x -d 'run in the server until it is ready'
complete -c novajob -l ready-timeout -x -d 'limit for ready-command'
complete -c novajob -l runner-binary -r -F -d 'gitlab-runner for servers without'
complete -c novajob -l prepare-script -r -F -d 'script run in the server before the job'
complete -c novajob -l prepare-script-timeout -x -d 'limit for prepare-script'
complete -c novajob -l compat -x -a 'none python' -d 'interface of another executor'
