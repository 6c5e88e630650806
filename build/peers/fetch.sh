#!/usr/bin/env bash
# fetch.sh NAME...   has Maven bring a peer's jars into $FRESHET_PEERS/NAME (default: $HOME/.cache/freshet-peers).
# The peers are the folders beside this script. One that is there already, of the same pom, is left alone.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

complete() { # FOLDER POM
	[[ -f $1/.complete && $(<"$1/.complete") == "$(sha256sum <"$2")" ]]
}

fetch() {
	local pom=$here/$1/pom.xml to=$peers/$1
	[[ -f $pom ]] || die "no peer is named $1"
	! complete "$to" "$pom" || return 0
	command -v mvn >/dev/null || die "needs mvn (Debian: apt-get install maven)"
	mkdir -p "$peers"
	new=$(mktemp -d "$peers/.fetch-XXXXXX")
	trap 'rm -rf "$new"' EXIT
	mvn -B -q -Dstyle.color=never -f "$pom" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
		-DincludeScope=runtime "-DoutputDirectory=$new/jars"
	for archive in "$new"/jars/*.tar.gz; do
		[[ ! -f $archive ]] || { tar -xzf "$archive" -C "$new/jars" && rm "$archive"; }
	done
	sha256sum <"$pom" >"$new/jars/.complete"
	# Of several that fetch at once the first one's folder stays.
	if ! complete "$to" "$pom"; then
		rm -rf "$to"
		mv "$new/jars" "$to"
	fi
}

(($#)) || usage
for name; do (fetch "$name"); done
