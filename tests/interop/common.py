"""What the checks share: the programs, one line for each check, what is skipped said loudly.

    with check('Q8_0 decodes'): assert ...          # "ok: ...", "FAILED: ..." with the traceback, or "skipped: ..."
    gguf = need('gguf')                             # a package that is not there ends the script: "skipped: ..."
run.sh sets QNT_BIN (the folder of the programs), QNT_ROOT (the repository) and QNT_SHARED (reference data, may be absent)."""
import contextlib
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import traceback

BIN, ROOT, SHARED = os.environ['QNT_BIN'], os.environ['QNT_ROOT'], os.environ['QNT_SHARED']
MODEL = os.path.join(ROOT, 'examples', 'models', 'qnt-gpt2-5m')
PARTNER = os.path.splitext(os.path.basename(sys.argv[0]))[0]


class Skip(Exception):
    pass


def say(kind, what):
    print(f'{kind}: {PARTNER}: {what}', flush=True)


@contextlib.contextmanager
def check(what):
    try:
        yield
        say('ok', what)
    except Skip as why:
        say('skipped', f'{what}: {why}')
    except Exception:
        traceback.print_exc()
        say('FAILED', what)


def need(module, package=None):
    try:
        found = importlib.import_module(module)
    except ImportError as why:
        say('skipped', f'everything: {why}')
        sys.exit(0)
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        print(f'version: {package or module} {importlib.metadata.version(package or module)}', flush=True)
    return found


def shared(*path):
    """A file of the reference data that are not part of the repository."""
    path = os.path.join(SHARED, *path)
    if not os.path.exists(path):
        raise Skip('/'.join(path.split(os.sep)[-3:]) + ' is not there')
    return path


def program(name, *arguments):
    """stdout of one of ours; what it says on stderr is in the exception."""
    done = subprocess.run([os.path.join(BIN, 'qnt-' + name), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f'qnt-{name} {" ".join(map(str, arguments))}: exit {done.returncode}: {done.stderr.strip()}')
    return done.stdout


def inspect(path):
    return json.loads(program('inspect', '--json', '--verify', path))


def quantize(source, to, *options):
    return json.loads(program('quantize', source, to, '--json', '-', '--force', *options))


def dump(path):
    """What qnt reads in a file: {name: (entry, values, values through panels or None)}, values as f32 arrays."""
    import numpy as np
    with tempfile.TemporaryDirectory() as folder:
        entries = json.loads(program('interop', 'dump', path, folder))
        load = lambda file: np.load(file) if file else None
        return {e['name']: (e, load(e['file']), load(e['packed_file'])) for e in entries}


def logits(model, form, mode, ids):
    """[len(ids), vocabulary] of ours after each of the ids."""
    import numpy as np
    with tempfile.TemporaryDirectory() as folder:
        program('interop', 'logits', model, form, mode, ','.join(map(str, ids)), folder + '/l.npy')
        return np.load(folder + '/l.npy')


def same_bits(a, b):
    """Are two arrays of f32 equal bit for bit? A zero may have either sign."""
    import numpy as np
    a, b = np.ascontiguousarray(a, np.float32), np.ascontiguousarray(b, np.float32)
    return a.shape == b.shape and bool(np.all((a.view(np.uint32) == b.view(np.uint32)) | ((a == 0) & (b == 0))))
