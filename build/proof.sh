#!/usr/bin/env bash
# proof.sh [PACKAGES...]   runs the tests in full length, one package after the other, and keeps the log in docs/proofs:
# commit, machine, seeds and figures, as the tests tell them.
set -uo pipefail
cd "$(dirname "$0")/.."
[[ -z $(git status --porcelain --untracked-files=no) ]] || { echo "proof: commit first: a proof is of a commit" >&2; exit 1; }
commit=$(git rev-parse --short HEAD)
log=docs/proofs/$(date -u +%Y-%m-%d)-$commit.txt
events=$(mktemp)
counts=$(mktemp)
trap 'rm -f "$events" "$counts"' EXIT
mkdir -p docs/proofs

FRESHET_PROOF=1 CGO_ENABLED=1 go test -count=1 -p 1 -timeout 3h -v -json "${@:-./...}" >"$events" 2>&1
status=$?
{
	echo "commit   $(git rev-parse HEAD)"
	echo "made     $(date -u +%Y-%m-%dT%H:%M:%SZ)"
	echo "machine  $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1), $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GB", $2 / 1048576}' /proc/meminfo 2>/dev/null)"
	echo "system   $(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME" || uname -sr), $(go env GOVERSION)"
	echo "packages ${*:-./...}"
	echo
	node build/summary.mjs proof "$events" "$counts"
	read -r passed failed skipped <"$counts"
	echo
	echo "$passed passed, $failed failed, $skipped skipped"
} | tee "$log"
echo "kept in $log" >&2
exit $status
