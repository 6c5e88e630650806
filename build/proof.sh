#!/usr/bin/env bash
# proof.sh [page | PACKAGES...]   runs the tests in full length, one package after the other, then the page's and the
# window's, and keeps the log in docs/proofs: commit, machine, seeds and figures, as the tests tell them.
set -uo pipefail
cd "$(dirname "$0")/.."
[[ -z $(git status --porcelain --untracked-files=no) ]] || { echo "proof: commit first: a proof is of a commit" >&2; exit 1; }
commit=$(git rev-parse --short HEAD)
log=docs/proofs/$(date -u +%Y-%m-%d)-$commit.txt
events=$(mktemp)
counts=$(mktemp)
trap 'rm -f "$events" "$counts"' EXIT
mkdir -p docs/proofs

export FRESHET_PROOF=1 CGO_ENABLED=1
status=0
packages() {
	go test -count=1 -p 1 -timeout 3h -v -json "$@" >"$events" 2>&1 || status=1
	node build/summary.mjs proof "$events" "$counts"
	read -r passed failed skipped <"$counts"
	echo
	echo "$passed passed, $failed failed, $skipped skipped"
}
page() {
	make --no-print-directory build desktop >&2 || status=1
	export PROOF_MINUTES=10 NO_COLOR=1
	for config in e2e/vitest.config.ts e2e/window/vitest.config.ts; do
		(cd frontend && npx --no-install vitest run --reporter=verbose --config "$config") 2>&1 | grep -v '^$\|^ RUN ' || status=1
	done
}

{
	echo "commit   $(git rev-parse HEAD)"
	echo "made     $(date -u +%Y-%m-%dT%H:%M:%SZ)"
	echo "machine  $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1), $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GB", $2 / 1048576}' /proc/meminfo 2>/dev/null)"
	echo "system   $(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME" || uname -sr), $(go env GOVERSION)"
	echo "what     ${*:-./... and the page}"
	echo
	case ${1-} in
	page) page ;;
	'') packages ./...; page ;;
	*) packages "$@" ;;
	esac
	exit $status
} | tee "$log"
status=${PIPESTATUS[0]}
echo "kept in $log" >&2
exit "$status"
