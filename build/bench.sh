#!/usr/bin/env bash
# bench.sh [--readme]   measures bin/freshet beside the barest things that do the same, and prints one table with the
# machine it was measured on. --readme puts it into README.md.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT

cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
memory=$(awk '/MemTotal/ {printf "%.0f GB", $2 / 1048576}' /proc/meminfo 2>/dev/null || true)
system=$(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME" || uname -sr)
postgres=$(PATH=$PATH:$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1) postgres --version 2>/dev/null || true)
before=$(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null || true)

if ! PATH=$PATH:$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1) FRESHET_BENCH=$PWD/bin/freshet \
	go test -count=1 -timeout 30m -run '^TestBench$' -v ./app/demo >"$log" 2>&1; then
	cat "$log" >&2
	exit 1
fi
grep -E '^ +bench_test' "$log" >&2 || true
table=$(grep '^|' "$log")
[[ $(wc -l <<<"$table") -ge 7 ]] || { cat "$log" >&2; echo "bench: the table is not whole" >&2; exit 1; }
text="$table

Measured by \`make bench\` in one run on $(date -u +%Y-%m-%d), commit $(git rev-parse --short HEAD 2>/dev/null): ${cpu:-unknown processor}, $(nproc) cores,
${memory:-?}, $system, $(go env GOVERSION), $postgres; load before: ${before:-?}. Medians of three, both sides taking turns on the same machine.
The ratio is speed: above 1 Freshet is faster."
echo "$text"
if [[ ${1-} == --readme ]]; then
	awk -v text="$text" '/<!-- bench: begin -->/ {print; print text; skip = 1} /<!-- bench: end -->/ {skip = 0} !skip && !/<!-- bench: begin -->/' README.md >README.md.new
	mv README.md.new README.md
fi
