#!/usr/bin/env bash
# The launchers on real clusters: a Slurm of three nodes and a Ray of several, both on this machine, both gone afterwards.
#
# Slurm is Debian's slurm-wlm, installed by apt when it is not there (root, or sudo without a password); Ray is the extra
# bellmark[ray]. Exit code 77 says plainly that a part could not be had and was not run; 0 that all of it ran and passed.
set -uo pipefail
cd "$(dirname "$0")/.."

log=.venv/cluster.log
missing=()
say() { echo "bellmark: $*"; }

have_slurm() { command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v sbatch >/dev/null; }

install_slurm() {
    command -v apt-get >/dev/null || { echo "apt-get is not on this machine" >"$log"; return 1; }
    local root=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || { echo "installing needs root, or sudo without a password" >"$log"; return 1; }
        root=(sudo -n)
    fi
    say "installing slurm-wlm (log: $log)"
    local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=1)
    "${apt[@]}" install -y --no-install-recommends slurm-wlm >"$log" 2>&1 ||
        { "${apt[@]}" update >>"$log" 2>&1 && "${apt[@]}" install -y --no-install-recommends slurm-wlm >>"$log" 2>&1; }
}

PATH=$PATH:/usr/sbin:/sbin
parts=()
if have_slurm || { install_slurm && have_slurm; }; then
    parts+=(slurm)
else
    missing+=(Slurm)
    say "Slurm could not be installed: $(tail -n 1 "$log")"
fi
if .venv/bin/python -c 'import ray' 2>/dev/null ||
    { say "installing bellmark[ray] (log: $log)"; .venv/bin/python -m pip install -q -c constraints.txt ray >"$log" 2>&1; }; then
    parts+=(ray)
else
    missing+=(Ray)
    say "Ray could not be installed: $(tail -n 1 "$log")"
fi

if [ ${#parts[@]} -gt 0 ]; then
    wanted=$(IFS=,; echo "${parts[*]}")
    say "testing the launchers on: $wanted"
    # a part of its own each: what one leaves behind, the other must not see
    for part in "${parts[@]}"; do
        BELLMARK_CLUSTER=$part .venv/bin/python -m pytest -n 0 --timeout 900 "tests/cluster/test_$part.py" "$@" || exit 1
    done
fi
if [ ${#missing[@]} -gt 0 ]; then
    say "NOT TESTED on: ${missing[*]}"
    exit 77
fi
