#!/bin/sh
# install.sh PACKAGE[=COMMAND]...: installs the Debian packages that are missing. One that names a command is present when the
# command is. On systems without apt-get this does nothing: what is missing there is named by the step that needs it.
set -eu
command -v apt-get >/dev/null || exit 0

missing=
for item in "$@"; do
    package=${item%%=*}
    case $item in *=*) command -v "${item#*=}" >/dev/null && continue ;; esac
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "error: missing packages, and neither root nor sudo to install them. As root: apt-get install$missing" >&2; exit 1; }
    sudo=sudo
fi
echo "installing with apt-get:$missing"
apt() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" >/dev/null; }
# shellcheck disable=SC2086  # one word per package
{ apt update && apt install -y --no-install-recommends $missing; } || { echo "error: apt-get could not install:$missing" >&2; exit 1; }
