# What the other scripts share; sourced, not run. shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
TOP=$PWD
export PATH="$PATH:${HOME:-/root}/.cargo/bin:/usr/sbin:/sbin"
TARGET=${CARGO_TARGET_DIR:-$TOP/target}

say() { printf '\n== %s\n' "$*"; }
die() { printf 'rbox: %s\n' "$*" >&2; exit 1; }

# need_root WORD: rbox itself and its tests make namespaces and mounts.
need_root() {
    [ "$(id -u)" = 0 ] || die "make needs root: run 'sudo make $1'"
}

# need_rust: cargo is not installed behind a person's back, since where it comes from is their choice.
need_rust() {
    if ! command -v cargo >/dev/null && [ -n "${SUDO_USER:-}" ]; then
        local home
        home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
        [ -x "$home/.cargo/bin/cargo" ] && export PATH="$home/.cargo/bin:$PATH" RUSTUP_HOME="${RUSTUP_HOME:-$home/.rustup}"
    fi
    command -v cargo >/dev/null || die "make needs a Rust toolchain: install one from https://rustup.rs"
}

# need_debs PACKAGE...: install those that are missing; the package lists are fetched only then. A service that a
# package brings (docker.io) is not started: policy-rc.d says no while we install.
need_debs() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    [ "$(id -u)" = 0 ] || die "make needs Debian packages: run 'sudo apt-get install ${missing[*]}'"
    command -v apt-get >/dev/null || die "make needs these programs of Debian packages: ${missing[*]}"
    say "installing ${missing[*]}"
    local policy=/usr/sbin/policy-rc.d ours=
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        ours=yes
    fi
    local status=0
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; } \
        >"$TOP/target-apt.log" 2>&1 || status=$?
    [ -z "$ours" ] || rm -f $policy
    if [ $status -ne 0 ]; then
        tail -n 20 "$TOP/target-apt.log" >&2
        die "cannot install ${missing[*]}: apt-get ended with $status"
    fi
    rm -f "$TOP/target-apt.log"
}

# What a build needs beside Rust: a linker, and libseccomp's archive for the static programs.
need_build() {
    need_rust
    need_debs gcc libc6-dev libseccomp-dev
}

# The triple of this machine: .cargo/config.toml builds for it by name.
triple() { rustc -vV | sed -n 's/^host: //p'; }
# built PROFILE: the folder with the programs.
built() { printf '%s/%s/%s' "$TARGET" "$(triple)" "$1"; }
