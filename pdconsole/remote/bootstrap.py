"""The one command that an ssh connection runs: puts the zipapp in place, then becomes it."""

from __future__ import annotations

import base64
import shlex
import zlib
from collections.abc import Mapping

import msgspec

# Runs on whatever Python the node has, far too old ones too: plain syntax, no f-strings.
SOURCE = r"""
import errno, hashlib, json, os, stat, sys

def say(**message):
    sys.stdout.write("pdconsole-node " + json.dumps(message) + "\n")
    sys.stdout.flush()

def refuse(kind, message):
    say(fatal={"kind": kind, "message": message})
    sys.exit(1)

def own_dir(path):
    if not os.path.isdir(path):
        own_dir(os.path.dirname(path))
        try:
            os.mkdir(path, 0o700)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
    found = os.stat(path)
    return found.st_uid == os.getuid() and not found.st_mode & 0o022

def is_whole(path, digest):
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            return False
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest() == digest
    except (IOError, OSError):
        return False

def receive(size):
    parts = []
    while size:
        part = os.read(0, min(size, 1 << 16))
        if not part:
            sys.exit(1)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)

def place(path, digest, size):
    say(need=size)
    data = receive(size)
    if hashlib.sha256(data).hexdigest() != digest:
        refuse("agent", "the agent arrived damaged; try again")
    part = "%s.%d" % (path, os.getpid())
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        while data:
            data = data[os.write(fd, data):]
        os.fsync(fd)
        os.rename(part, path)
    except OSError:
        os.unlink(part)
        raise
    finally:
        os.close(fd)

def main(work_dir, digest, size, options):
    if sys.version_info < (3, 9):
        version = ".".join(map(str, sys.version_info[:3]))
        refuse("python", "%s is Python %s, the agent needs 3.9 or newer; set engine.python in the "
               "cluster profile to a newer one" % (sys.executable, version))
    work_dir = os.path.abspath(os.path.expanduser(work_dir))
    folder = os.path.join(work_dir, "bin")
    try:
        if not own_dir(work_dir) or not own_dir(folder):
            refuse("disk", "%s is not a directory that only this user can write; correct its owner "
                   "and mode (0700), or set another work_dir" % folder)
        path = os.path.join(folder, "agent-%s.pyz" % digest[:16])
        if not is_whole(path, digest):
            place(path, digest, size)
        os.utime(path, None)  # in use: agents remove archives that long were not
    except (IOError, OSError) as error:
        refuse("disk", "cannot write %s: %s; free space or permissions there, or set another "
               "work_dir in the cluster profile" % (error.filename or folder, error.strerror))
    options["work_dir"] = work_dir
    os.execv(sys.executable, [sys.executable, "-I", path, "connect", json.dumps(options)])

main(sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4]))
"""


def command(
    python: str, work_dir: str, sha256: str, size: int, options: Mapping[str, object]
) -> str:
    """For any login shell: no newlines, and only words in single quotes."""
    packed = base64.b64encode(zlib.compress(SOURCE.encode(), 9)).decode()
    loader = f'import base64,zlib;exec(zlib.decompress(base64.b64decode("{packed}")))'
    spec = msgspec.json.encode(options).decode()
    words = ["-I", "-c", loader, work_dir, sha256, str(size), spec]
    return f"exec {_quoted_path(python)} {shlex.join(words)}"


def _quoted_path(path: str) -> str:
    """The node's shell puts its HOME for a leading ~/."""
    if path.startswith("~/"):
        return f'"$HOME"/{shlex.quote(path[2:])}'
    return shlex.quote(path)
