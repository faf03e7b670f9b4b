#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The README's commands on bare systems: `make test-fresh` (as root, with mmdebstrap; two hours and 10 GB).
# SYSTEMS="bookworm trixie", USERS="root user" and TARGETS="run test" choose a part; each system and user starts with nothing
# but what the README asks for and cold caches. The last lines are minutes and megabytes.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { echo "test-fresh: $*" >&2; exit 2; }
say() { echo "test-fresh: $*"; }

SYSTEMS=${SYSTEMS:-bookworm trixie} USERS=${USERS:-root user} TARGETS=${TARGETS:-run test}
[ "$(id -u)" = 0 ] || fail "it makes file systems and mounts, so it needs root"
command -v mmdebstrap >/dev/null || fail "mmdebstrap is not on the PATH; apt install mmdebstrap"
packages=$(sed -n 's/.*`apt install \([a-z0-9 -]*\)`.*/\1/p' README.md)
[ -n "$packages" ] || fail "README.md does not say what to install first"

work=$(mktemp -d "${TMPDIR:-/var/tmp}/audio-gender-fresh.XXXX")
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

# Debian's mirror as this host names it; elsewhere mmdebstrap knows one.
mirror=$(. /etc/os-release && apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
    sed -n "s/^${VERSION_CODENAME:-} //p" | head -n 1)
grep -q '^ID=debian' /etc/os-release || mirror=

# Only where the system has no Python 3.11 and uv's site cannot be reached from here.
if [[ $SYSTEMS = *trixie* && -z ${UV_PYTHON_DOWNLOADS_JSON_URL:-}${UV_PYTHON_INSTALL_MIRROR:-} ]] &&
    ! .venv/bootstrap/bin/uv python install --quiet --no-bin --install-dir "$work/python" 3.11 2>/dev/null; then
    say "uv's site cannot be reached: this machine's own Python 3.11 is served in its place"
    .venv/bin/python tests/pipeline/python_index.py >"$work/index" &
    until [ -s "$work/index" ]; do kill -0 $! || fail "the index of Pythons did not start"; sleep 1; done
    UV_PYTHON_DOWNLOADS_JSON_URL=$(cat "$work/index")
fi

# What a company's network asks of every machine in it: proxies, mirrors and certificates.
network=()
for name in http_proxy https_proxy no_proxy PIP_INDEX_URL UV_DEFAULT_INDEX UV_PYTHON_DOWNLOADS_JSON_URL UV_PYTHON_INSTALL_MIRROR PYTEST_ADDOPTS; do
    [ -z "${!name:-}" ] || network+=("$name=${!name}")
done

# Runs a shell command in the system $1 as the user $2, in the clone.
inside() {
    local root=$1 user=$2 home=/home/user
    [ "$user" = user ] || home=/root
    unshare --mount --pid --fork --kill-child bash -euc '
        mount --bind "$0" "$0" # the root of a machine is a mount
        mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; mount -t tmpfs tmpfs "$0/dev/shm"
        root=$0 user=$1 home=$2 command=$3; shift 3
        exec chroot --userspec="$user:$user" "$root" env --chdir="$home/audio-gender" -i HOME="$home" USER="$user" TERM=xterm \
            LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" bash -c "$command"
    ' "$root" "$user" "$home" "$3" "${network[@]}"
}

megabytes() { du -sm "$1" 2>/dev/null | cut -f1; }

failed=0
try() {
    local system=$1 user=$2 root=$work/root home status started
    mkdir "$root"
    tar --extract --file "$work/$system.tar" --directory "$root"
    home=$root/root
    if [ "$user" = user ]; then
        chroot "$root" useradd --create-home --uid 1000 user
        home=$root/home/user
    fi
    git clone --quiet . "$home/audio-gender"
    chroot "$root" chown --recursive "$user:$user" "${home#"$root"}/audio-gender"
    for target in $TARGETS; do
        say "make $target on $system as $user"
        status=0 started=$SECONDS
        inside "$root" "$user" "make $target" 2>&1 | sed -u "s/^/  $system $user | /" || status=failed
        [ "$status" = 0 ] || failed=1
        printf '%-9s %-5s make %-5s %-7s %4d min  %5d MB in the clone (%d in .venv, %d in work), %d MB of caches\n' \
            "$system" "$user" "$target" "${status/#0/passed}" $(((SECONDS - started + 30) / 60)) "$(megabytes "$home/audio-gender")" \
            "$(megabytes "$home/audio-gender/.venv")" "$(megabytes "$home/audio-gender/work" || echo 0)" \
            "$(megabytes "$home/.cache" || echo 0)" | tee -a "$work/table"
    done
    rm -rf "$root"
}

for system in $SYSTEMS; do
    say "making a bare $system with $packages"
    mmdebstrap --quiet --variant=minbase --include="${packages// /,}" "$system" "$work/$system.tar" ${mirror:+"$mirror"}
    mkdir "$work/host"
    (cd / && cp --parents --dereference etc/ssl/certs/ca-certificates.crt "$work/host" && { cp --parents etc/pip.conf "$work/host" 2>/dev/null || true; })
    tar --append --file "$work/$system.tar" --directory "$work/host" .
    rm -rf "$work/host"
    for user in $USERS; do try "$system" "$user"; done
done
say "at $(git describe --always --dirty), on $(nproc) cores:"
cat "$work/table"
exit $failed
