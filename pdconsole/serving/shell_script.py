"""An experiment as a bash script of the exact commands, for whoever wants to see or run them.

The script needs ssh here, and bash, setsid and curl on the nodes. It leaves out what pdconsole does
besides: leases, GPU locks, checks, metrics and the analysis of what the load driver prints.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from pdconsole.model.plan import ExperimentPlan, RunPlan
from pdconsole.remote.values import SshTarget
from pdconsole.serving.errors import ServingError
from pdconsole.serving.plan import DeploymentPlan, PlannedProcess


class DrivenPoint(msgspec.Struct, frozen=True):
    """A point with the load driver's spec for it, as JSON on one line."""

    point: str
    spec: str


class ScriptedRun(msgspec.Struct, frozen=True):
    run: RunPlan
    deployment: DeploymentPlan
    points: tuple[DrivenPoint, ...]


def export_sh(
    experiment: ExperimentPlan,
    runs: Sequence[ScriptedRun],
    *,
    targets: Mapping[str, SshTarget],
    driver_node: str,
    agent: str,
    startup_timeout_s: float,
) -> str:
    """The script's text.

    `targets` say how each node is reached, `agent` is the file name of the agent's zipapp, which
    has to lie beside the script. Raises ServingError for a node without a target.
    """
    used = [driver_node, *(node for each in runs for node in each.deployment.nodes)]
    nodes = list(dict.fromkeys(used))
    missing = [node for node in nodes if node not in targets]
    if missing:
        raise ServingError(f"How to reach {' and '.join(missing)} by ssh is not known")
    parts = [
        _head(experiment, runs),
        _settings(driver_node, targets[driver_node].python, agent, startup_timeout_s),
        _reach(nodes, targets),
        _FUNCTIONS,
        *(_run_function(each) for each in runs),
        _tail(runs),
    ]
    return "\n".join(parts)


def ssh_words(target: SshTarget) -> tuple[str, ...]:
    """The ssh command that reaches the node as pdconsole does, without the remote command."""
    words = ["ssh", "-o", f"ConnectTimeout={target.connect_timeout_s:.0f}"]
    if target.config != "~/.ssh/config":
        words += ["-F", target.config]
    if target.known_hosts:
        words += ["-o", f"UserKnownHostsFile={target.known_hosts}"]
    for identity in target.identity:
        words += ["-i", identity]
    if target.jump:
        words += ["-J", target.jump]
    if target.port:
        words += ["-p", str(target.port)]
    host = target.host or target.node
    return (*words, f"{target.user}@{host}" if target.user else host)


def _head(experiment: ExperimentPlan, runs: Sequence[ScriptedRun]) -> str:
    about = [f"{experiment.experiment} on {experiment.cluster}, model {experiment.model}"]
    about += experiment.question.splitlines()
    if experiment.simulated:
        about.append("The nodes and GPUs of this cluster are simulated.")
    lines = ["#!/usr/bin/env bash", *_comments(about), "#", "# Runs:"]
    lines += [f"#   {each.run.id}  {each.run.label}, {each.run.workload.slug}" for each in runs]
    lines += [
        "#",
        "# Usage: bash THIS [RUN...]   all runs, or those named",
        "# What the load driver prints goes to results/<run>/<point>.jsonl.",
        "# Ctrl-C ends everything that was started.",
        "set -euo pipefail",
        'cd "$(dirname "${BASH_SOURCE[0]}")"',
        "",
    ]
    return "\n".join(lines)


def _settings(driver_node: str, python: str, agent: str, startup_timeout_s: float) -> str:
    return f"""\
AGENT={shlex.quote(agent)}  # beside this script; it holds the load driver
DRIVER_NODE={shlex.quote(driver_node)}
DRIVER_PYTHON={shlex.quote(python)}
FOLDER=.pdconsole/by-hand  # on the nodes, below the home directory
STARTUP_S={startup_timeout_s:.0f}
RUN=''
STARTED=()  # 'node name' of what runs, in the order of its start
"""


def _comments(lines: Iterable[str]) -> Iterator[str]:
    return (f"# {line}".rstrip() for line in lines)


def _reach(nodes: Sequence[str], targets: Mapping[str, SshTarget]) -> str:
    cases = "\n".join(
        f'    {shlex.quote(node)}) {_home_aware(ssh_words(targets[node]))} "$2" ;;'
        for node in nodes
    )
    return f"""\
# on NODE COMMAND: a command line of the node's shell
on() {{
  case $1 in
{cases}
    *) echo "unknown node $1" >&2; return 1 ;;
  esac
}}
"""


def _home_aware(words: Sequence[str]) -> str:
    """Quoted for the shell, with ~ still standing for the home directory."""
    return " ".join(
        f"~/{shlex.quote(word[2:])}" if word.startswith("~/") else shlex.quote(word)
        for word in words
    )


_FUNCTIONS = r"""# start NODE NAME COMMAND...: in the background, in a process group of its own
start() {
  local node=$1 name=$2 word command=''
  shift 2
  for word in "$@"; do
    case $word in  # a path under the home of the node, not of this machine
      \~/*) printf -v word "\"\$HOME\"/%q" "${word#\~/}" ;;
      *) printf -v word '%q' "$word" ;;
    esac
    command+="$word "
  done
  echo "$(date +%T) start $name on $node"
  on "$node" "mkdir -p $FOLDER/$RUN && cd $FOLDER/$RUN &&
    { setsid $command > $name.log 2>&1 < /dev/null & echo \$! > $name.pid; }" < /dev/null
  STARTED+=("$node $name")
}

# wait_for NODE NAME URL: until it answers; fails with its last lines if it ends or takes too long
wait_for() {
  local node=$1 name=$2 url=$3
  on "$node" "cd $FOLDER/$RUN && waited=0
    until curl -fsS -o /dev/null --max-time 5 $url 2> /dev/null; do
      if [ \$waited -ge $STARTUP_S ] || ! kill -0 \$(cat $name.pid) 2> /dev/null; then
        tail -n 20 $name.log; exit 1
      fi
      waited=\$((waited + 1)); sleep 1
    done" < /dev/null || { echo "$name on $node did not come up" >&2; return 1; }
  echo "$(date +%T) ready $name on $node"
}

# drive POINT: loads the deployment as the spec on standard input says
drive() {
  local point=$1
  mkdir -p "results/$RUN"
  echo "$(date +%T) drive $point"
  on "$DRIVER_NODE" "mkdir -p $FOLDER/$RUN/$point && cd $FOLDER/$RUN/$point && cat > spec.json &&
    $DRIVER_PYTHON -I \"\$HOME/$FOLDER/agent.pyz\" drive spec.json" > "results/$RUN/$point.jsonl"
}

# stop_all: TERM, and KILL after 10 s, in reverse order of the start
stop_all() {
  local i node name
  for ((i = ${#STARTED[@]} - 1; i >= 0; i--)); do
    read -r node name <<< "${STARTED[i]}"
    echo "$(date +%T) stop $name on $node"
    on "$node" "group=-\$(cat $FOLDER/$RUN/$name.pid)
      alive() { kill -s 0 -- \$group 2> /dev/null; }
      if alive; then kill -s TERM -- \$group; fi
      for _ in \$(seq 100); do alive || exit 0; sleep 0.1; done
      kill -s KILL -- \$group" < /dev/null || echo "$name on $node may still run" >&2
  done
  STARTED=()
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
"""


def _run_function(each: ScriptedRun) -> str:
    run = each.run
    lines = [
        f"# --- run {run.id}: {run.label}, {run.workload.slug}",
        *_comments(f"note: {note}" for note in each.deployment.notes),
        f"run_{_word(run.id)}() {{",
        f"  RUN={shlex.quote(run.result_dir)}",
    ]
    for stage in each.deployment.stages:
        lines.append("")
        for process in stage:
            lines += _start_lines(process)
        lines += [
            f"  wait_for {shlex.quote(p.node)} {shlex.quote(p.name)} {shlex.quote(p.health_url)}"
            for p in stage
        ]
    for driven in each.points:
        lines += ["", f"  drive {shlex.quote(driven.point)} << 'SPEC'", driven.spec, "SPEC"]
    return "\n".join([*lines, "", "  stop_all", "}", ""])


def _start_lines(process: PlannedProcess) -> Iterator[str]:
    """A word and its value on each line, as one would write it by hand."""
    yield f"  start {shlex.quote(process.node)} {shlex.quote(process.name)} \\"
    yield "    env \\"
    for name, value in process.env.items():
        yield f"      {name}={shlex.quote(value)} \\"
    rows = _rows(process.argv)
    for i, row in enumerate(rows):
        indent = "    " if i == 0 else "      "
        yield indent + shlex.join(row) + (" \\" if i < len(rows) - 1 else "")


def _rows(argv: Sequence[str]) -> list[list[str]]:
    """The command in the first row, then a flag with its values in each."""
    rows: list[list[str]] = [[]]
    for word in argv:
        if word.startswith("--"):
            rows.append([])
        rows[-1].append(word)
    return rows


def _word(run_id: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in run_id)


def _tail(runs: Sequence[ScriptedRun]) -> str:
    every = " ".join(_word(each.run.id) for each in runs)
    return f"""\
on "$DRIVER_NODE" "mkdir -p $FOLDER && cat > $FOLDER/agent.pyz" < "$AGENT"
[ $# -gt 0 ] || set -- {every}
for run in "$@"; do
  "run_$run"
done
"""
