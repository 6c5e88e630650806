#!/usr/bin/env bash
# setup.sh demo|test|proof|desktop|package|package-test   installs what this machine lacks for the target, on Debian and what is
# made from it. As root or with sudo, naming the packages: on a terminal it asks first, elsewhere or with YES=1 it goes
# ahead. Where it can install nothing it says in one line what is missing. It fails only where the target cannot do without.
set -euo pipefail

go_needed=26     # Go 1.N; newer ones of the line are fetched by the go command itself
node_needed=20   # the page's tool chain

usage() {
	sed -n '2,4s/^# //p' "$0" >&2
	exit 2
}

have() { command -v "$1" >/dev/null 2>&1; }

packages=()
# need PACKAGE CONDITION...   wants the package unless the condition holds.
need() {
	local package=$1
	shift
	"$@" || packages+=("$package")
}

any() {
	local c
	for c; do have "$c" && return; done
	return 1
}
postgres_here() { have initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }
header_here() { have pkg-config && pkg-config --exists "$1"; }
libc_here() { [[ -e /usr/include/stdlib.h ]]; }

for_server() {
	need git have git
	if have apt-get; then need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt; fi
	need make have make
	need gcc any gcc clang cc
	if [[ $(uname) == Linux ]]; then need libc6-dev libc_here; fi
}

for_desktop() {
	for_server
	need pkg-config have pkg-config
	need libgtk-3-dev header_here gtk+-3.0
	need libwebkit2gtk-4.1-dev header_here webkit2gtk-4.1
}

case ${1-} in
demo) for_server ;;
desktop) for_desktop ;;
package)
	for_desktop
	need dpkg-dev have dpkg-shlibdeps
	need librsvg2-bin have rsvg-convert
	need gcc-mingw-w64-x86-64 have x86_64-w64-mingw32-gcc
	;;
package-test) need debootstrap have debootstrap ;;
test | proof)
	for_desktop
	if [[ $1 == proof ]]; then need gdb have gdb; fi
	need xvfb have Xvfb
	need webkit2gtk-driver have WebKitWebDriver
	need xdotool have xdotool
	need postgresql postgres_here
	need kcat any kcat kafkacat
	need chromium any chromium chromium-browser google-chrome
	need openjdk-17-jre-headless have java
	need maven have mvn
	need procps have ps
	need curl have curl
	need jq have jq
	;;
*) usage ;;
esac

# What no package of Debian 12 brings in a version that is new enough is named, not installed.
missing=()
go_version=$(go env GOVERSION 2>/dev/null || true)
if [[ ! $go_version =~ ^go1\.([0-9]+) ]] || ((BASH_REMATCH[1] < go_needed)); then
	missing+=("Go 1.$go_needed or newer (here: ${go_version:-none})")
fi
node_version=$(node --version 2>/dev/null || true)
if [[ ! $node_version =~ ^v([0-9]+)\. ]] || ((BASH_REMATCH[1] < node_needed)) || ! have npm; then
	node_missing="Node.js $node_needed or newer with npm (here: ${node_version:-none})"
	# Without it the server is built without its page; tests need it.
	if [[ $1 == demo ]]; then
		echo "setup: missing: $node_missing; the page is not built, all else is" >&2
	else
		missing+=("$node_missing")
	fi
fi

install() {
	local sudo=()
	if ! have apt-get; then
		return 1
	fi
	if [[ $(id -u) != 0 ]]; then
		have sudo || return 1
		sudo=(sudo)
		[[ -t 0 ]] || sudo=(sudo -n)
	fi
	if [[ -t 0 && -t 1 && ${YES-} != 1 ]]; then
		local reply
		read -r -p "Install ${packages[*]} with apt-get? [Y/n] " reply
		[[ -z $reply || $reply == [yY]* ]] || return 1
	else
		echo "setup: installing ${packages[*]}" >&2
	fi
	if [[ " ${packages[*]} " == *" postgresql "* && ! -e /etc/postgresql-common/createcluster.conf ]]; then
		# Its programs are wanted, not a server of its own that would start with the machine.
		"${sudo[@]}" mkdir -p /etc/postgresql-common
		echo 'create_main_cluster = false' | "${sudo[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
	fi
	local log
	log=$(mktemp)
	if "${sudo[@]}" apt-get -qq update >"$log" 2>&1 &&
		"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Options::=--force-confold \
			install --no-install-recommends "${packages[@]}" >>"$log" 2>&1; then
		rm -f "$log"
		return 0
	fi
	tail -n 15 "$log" >&2
	rm -f "$log"
	return 1
}

if ((${#packages[@]})) && ! install; then
	echo "setup: missing, and not installed: ${packages[*]}; what needs them is left out or fails by name" >&2
	for p in "${packages[@]}"; do
		case $p in gcc | libc6-dev) missing+=("$p") ;; esac
	done
fi
if ((${#missing[@]})); then
	(IFS=';'; echo "setup: $1 cannot do without:${missing[*]/#/ }" >&2)
	exit 1
fi
