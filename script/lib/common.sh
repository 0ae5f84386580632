# What the scripts share: messages, Debian packages, flags. To be sourced, with `root` unset.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# `SWIFT=…` chooses another toolchain, or a wrapper around it.
swift=${SWIFT:-swift}

# One line on standard error that says what happens now.
say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# The packages among the arguments that Debian's database does not list as installed.
missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || echo "$package"
    done
}

# Installs those of the Debian packages that are missing. Elsewhere it only names what is needed.
install_packages() {
    local missing as_root=()
    if ! command -v apt-get >/dev/null; then
        say "Not a Debian: what is needed here as packages is called there $*"
        return
    fi
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die "as root, please: apt-get install" $missing
        as_root=(sudo)
    fi
    say "Installing Debian packages:" $missing
    if [ -z "${apt_updated:-}" ]; then
        "${as_root[@]}" apt-get update -qq </dev/null >&2
        apt_updated=1
    fi
    # shellcheck disable=SC2086
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 $missing </dev/null >&2
}

# What `swift build` needs beside the toolchain itself.
install_build_packages() {
    command -v "$swift" >/dev/null || die "no $swift here: Ottla is built with Swift 6.3 (https://www.swift.org/install/linux)"
    install_packages zlib1g-dev libsnappy-dev liblz4-dev libzstd-dev libsqlite3-dev
    # The C++ runtime's development files: snappy is C++.
    if ! compgen -G '/usr/lib/gcc/*/*/libstdc++.so' >/dev/null; then install_packages g++; fi
}

# A folder with nothing but the static forms of our C libraries. Searched first, it makes the linker take
# them, where the system's own folder has the shared ones beside them and those would be preferred.
static_libraries() {
    local folder=$root/.build/static-libraries name file
    mkdir -p "$folder"
    for name in z snappy lz4 zstd sqlite3; do
        file=$(gcc -print-file-name=lib$name.a 2>/dev/null || clang -print-file-name=lib$name.a)
        [ -e "$file" ] || die "lib$name.a is not on this machine"
        ln -sfn "$(readlink -f "$file")" "$folder/lib$name.a"
    done
    echo "$folder"
}

# Flags of every build, debug and release: imports between targets point down only.
common_flags=(--package-path "$root" --explicit-target-dependency-import-check error)

# Flags of every release build (the broker and the micro-benchmarks share one build folder), in `release_flags`.
# The server alone needs them; a package that depends on us must not inherit them:
# - one file that runs on a Debian without a Swift toolchain: static Swift runtime, static C libraries;
# - no checks of exclusive access at run time (the compiler's own stay): they are paid for at every access to a
#   class's stored property, in the paths that each request takes.
set_release_flags() {
    local libraries
    libraries=$(static_libraries)
    release_flags=(
        "${common_flags[@]}" -c release
        --static-swift-stdlib -Xlinker "-L$libraries"
        -Xswiftc -enforce-exclusivity=unchecked
    )
}
