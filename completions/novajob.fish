# SPDX-License-Identifier: MIT
# fish completion for novajob(1). All words are the program's own, from `novajob __words` (src/cmd_words.c).

# What the program says; nothing where there is none.
function __novajob_ask
    command -q novajob; and command novajob $argv 2>/dev/null
end

# The command on the line, then what stands behind it; fails when there is none yet. Options and their values are left out.
function __novajob_operands
    set -l words (commandline -opc)[2..-1]
    set -l valued (__novajob_ask __words | string match -r -g '^opt (--.*)=\t')
    set -l operands
    while set -q words[1]
        set -l word $words[1]
        set -e words[1]
        if not string match -q -- '-*' $word
            if not set -q operands[1]
                set -a valued (__novajob_ask __words $word | string match -r -g '^opt (--.*)=\t')
            end
            set -a operands $word
        else if contains -- $word $valued
            set -e words[1]
        end
    end
    string join \n -- $operands
    set -q operands[1]
end

# Is no command there yet? Is it $argv[1]? … with so many operands behind it already as $argv[2] says?
function __novajob_no_command
    not __novajob_operands >/dev/null
end

function __novajob_at
    set -l operands (__novajob_operands); or return
    test $operands[1] = $argv[1]; or return
    not set -q argv[2]; or test (count $operands) -eq (math $argv[2] + 1)
end

# The settings file and the state directory that the line names: a job's record is there.
function __novajob_given
    set -l words (commandline -opc)
    for i in (seq (count $words))
        string match -r -- '^--(?:settings|state-dir)=.*' $words[$i]
        if contains -- $words[$i] --settings --state-dir; and set -q words[(math $i + 1)]
            echo -- $words[$i]=$words[(math $i + 1)]
        end
    end
end

# The words, with their help, that a command's first operand or a setting may be.
function __novajob_words
    __novajob_ask (__novajob_given) __words $argv | string match -r -g '^value (.*)'
end

# The options among the lines of __words on stdin; $argv: the condition of complete.
function __novajob_options
    while read -d \t -l word help kind
        set -l name (string match -r -g '^opt -+([^=]*)=?$' -- $word); or continue
        switch $word:$kind
            case '*=:file'
                complete -c novajob $argv -l $name -r -F -d $help
            case '*=:dir'
                complete -c novajob $argv -l $name -x -a '(__fish_complete_directories)' -d $help
            case '*=:word'
                complete -c novajob $argv -l $name -x -a "(__novajob_words --value=$name)" -d $help
            case '*=:list'
                complete -c novajob $argv -l $name -x -a "(__fish_complete_list , '__novajob_words --value=$name')" -d $help
            case '*=:*'
                complete -c novajob $argv -l $name -x -d $help
            case 'opt --*'
                complete -c novajob $argv -l $name -d $help
            case '*'
                complete -c novajob $argv -s $name -d $help
        end
    end
end

complete -c novajob -f
set -l lines (__novajob_ask __words)
string join \n -- $lines | __novajob_options
for line in $lines
    set -l parts (string match -r -g '^cmd ([^\t]*)\t(.*)' -- $line); or continue
    set -l own (__novajob_ask __words $parts[1])
    complete -c novajob -n __novajob_no_command -a $parts[1] -d $parts[2]
    string join \n -- $own | __novajob_options -n "__novajob_at $parts[1]"
    if contains file $own
        complete -c novajob -n "__novajob_at $parts[1] 0" -F
    else
        complete -c novajob -n "__novajob_at $parts[1] 0" -a "(__novajob_words $parts[1])"
    end
end
