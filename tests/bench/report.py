"""The bench's results as a table, as JSON, and as a part of a manual page."""
import os
import platform
import re
import subprocess
import time

END = '.\\" end of rows'


def first_line(argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout.decode(errors='replace').split('\n')[0].strip()


def machine(how):
    """Where it was measured, and how."""
    model = 'unknown processor'
    with open('/proc/cpuinfo', encoding='utf-8') as f:
        for line in f:
            if line.startswith('model name'):
                model = re.sub(r'\s+', ' ', line.partition(':')[2].strip())
                break
    with open('/proc/meminfo', encoding='ascii') as f:
        gib = int(f.readline().split()[1]) / 1024 / 1024
    return {'date': time.strftime('%Y-%m-%d', time.gmtime()), 'cpus': os.cpu_count(), 'model': model,
            'memory_gib': round(gib, 1), 'kernel': platform.release(), 'ssh': first_line(['ssh', '-V']).split(',')[0],
            'load': round(os.getloadavg()[0], 1), 'how': how}


def machine_text(m):
    return (f'{m["date"]}, {m["cpus"]} CPUs ({m["model"]}), {m["memory_gib"]} GiB, Linux {m["kernel"]}, {m["ssh"]}; '
            f'load at the end {m["load"]}, {m["how"]}')


def number(value, unit):
    if value is None:
        return '-'
    digits = 2 if abs(value) < 1 else 1 if abs(value) < 100 else 0
    return f'{value:.{digits}f} {unit}'


def ratio(result):
    return '-' if not result.floor else f'{result.ours / result.floor:.2f}'


def cells(done):
    yield 'what', 'floor', 'ours', 'ours/floor', 'goal', 'met'
    for row, result in done:
        yield (row.name, number(result.floor, row.unit), number(result.ours, row.unit), ratio(result), row.goal.text,
               'yes' if row.goal.is_met(result) else 'no')


def table(done, m):
    lines = list(cells(done))
    widths = [max(len(line[i]) for line in lines) for i in range(6)]
    out = ['  '.join(c.ljust(w) if i in (0, 4) else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))).rstrip()
           for line in lines]
    notes = [f'{row.name}: {result.note}' for row, result in done if result.note]
    return '\n'.join(out + [''] + notes + [machine_text(m)])


def as_json(done, m):
    return {'machine': m, 'rows': [
        {'name': row.name, 'unit': row.unit, 'ours': result.ours, 'floor': result.floor, 'goal': row.goal.text,
         'met': row.goal.is_met(result), 'note': result.note} for row, result in done]}


def roff(text):
    return text.replace('\\', '\\e').replace('-', '\\-').replace("'", '\\(aq').replace('>=', '\\(>=').replace('<=', '\\(<=')


def columns(lines):
    """These rows of cells as a table of mdoc(7)."""
    widths = [max(cells, key=len) for cells in zip(*lines)]
    return ['.Bl -column ' + ' '.join(f'"{roff(w)}"' for w in widths),
            *('.It ' + ' Ta '.join(roff(c) for c in line) for line in lines), '.El', '.Pp']


def write_between(path, target, lines, m):
    """Put the lines, and the machine, where the manual page has what `make TARGET` wrote."""
    begin = f'.\\" rows: written by make {target}\n'
    with open(path, encoding='utf-8') as f:
        before, mark, rest = f.read().partition(begin)
    _, end, after = rest.partition(END + '\n')
    if not mark or not end:
        raise ValueError(f'{path} has no mark of make {target}')
    with open(path, 'w', encoding='utf-8') as f:
        f.write(before + begin + '\n'.join([*lines, f'Measured {roff(machine_text(m))}.']) + '\n' + end + after)


def write_page(path, done, m):
    notes = [roff(f'{row.name}: {result.note}.') + '\n.br' for row, result in done if result.note]
    write_between(path, 'bench', columns(list(cells(done))) + notes, m)
