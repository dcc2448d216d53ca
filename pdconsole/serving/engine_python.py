"""The Python that a command of a node's runs in: the engine's, or the router's."""

from __future__ import annotations

from pdconsole.profiles.schema import ClusterProfile

# $1: the command. The rest: what its Python is to run.
#
# A script of a Python names it in its first line. Where it names none, as a wrapper or a script
# whose environment has a long path, the Python beside it is meant.
IN_PYTHON_OF = """\
command=$1
shift
case ${command##*/} in
    python*) exec "$command" "$@" ;;
esac
found=$(command -v "$command") || {
    echo "there is no $command here; see engine.vllm and engine.router of the cluster's profile" >&2
    exit 127
}
first=$(head -c 1024 "$found" | sed -n '1s/^#! *//p')
case ${first##*/} in
    python*|env*python*) exec $first "$@" ;;
esac
beside=$(dirname "$found")/python
if [ -x "$beside" ]; then exec "$beside" "$@"; fi
echo "cannot tell in which Python $found runs" >&2
exit 127
"""


def engine_command(cluster: ClusterProfile) -> list[str]:
    """The command whose Python has the engine."""
    return cluster.ray.command if cluster.orchestrator == "ray" else cluster.engine.vllm


def in_python_of(command: str, *arguments: str) -> tuple[str, ...]:
    """A command line that runs the arguments in the Python of this command."""
    return ("sh", "-c", IN_PYTHON_OF, "sh", command, *arguments)
