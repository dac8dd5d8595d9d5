# SPDX-License-Identifier: MIT
# fish completion for novajob(1). tests/words.bats compares it with `novajob __words`.

set -l commands config prepare run cleanup settings help

complete -c novajob -f
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a config -d 'stage: check the settings'
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a prepare -d 'stage: give the job a server'
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a run -d 'stage: run a script in the server'
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a cleanup -d 'stage: delete what the job owns'
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a settings -d 'show every setting'
complete -c novajob -n "not __fish_seen_subcommand_from $commands" -a help -d 'show the usage'
complete -c novajob -n "__fish_seen_subcommand_from help; and test (count (commandline -opc)) -eq 2" -a "$commands"
complete -c novajob -n "__fish_seen_subcommand_from run" -F
complete -c novajob -n "__fish_seen_subcommand_from settings" -l json -d 'print a JSON object'

complete -c novajob -s h -l help -d 'show the usage'
complete -c novajob -s v -l verbose -d 'say more'
complete -c novajob -s V -l version -d 'show the version'
complete -c novajob -l settings -r -F -d 'read settings from this file'
complete -c novajob -l flavor -x -d 'flavor of the server'
complete -c novajob -l image -x -d 'image of the server'
complete -c novajob -l network -x -d 'network of the server'
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
complete -c novajob -l delete-wait -x -d 'how long cleanup looks for a deleted server'
complete -c novajob -l builds-dir -x -a '(__fish_complete_directories)' -d 'builds_dir told to the runner'
complete -c novajob -l cache-dir -x -a '(__fish_complete_directories)' -d 'cache_dir told to the runner'
complete -c novajob -l state-dir -x -a '(__fish_complete_directories)' -d 'where the records are'
complete -c novajob -l owner -x -d 'name this host owns servers by'
complete -c novajob -l max-life -x -d 'longest life of a server'
complete -c novajob -l openstack -r -F -d 'the openstack program'
complete -c novajob -l ssh -r -F -d 'the ssh program'
complete -c novajob -l openstack-session -x -a 'yes no' -d 'one openstack process per stage'
complete -c novajob -l job-may-set -x -d 'settings a job may set'
complete -c novajob -l trust-variables -x -a 'yes no' -d "believe the job's variables"
complete -c novajob -l compat -x -a 'none python' -d 'interface of another executor'
