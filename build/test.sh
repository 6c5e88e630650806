#!/usr/bin/env bash
# test.sh [check]   runs every check and every test, the whole list also where something fails, and says at the end what
# ran: a line for each part, and in the last line the sums. It fails where anything did, or where a part ran nothing.
set -uo pipefail
cd "$(dirname "$0")/.."
only=${1-all}
began=$SECONDS
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=$work/failures # what failed, by name
: >"$failures"
results=$work/results # name, passed, failed, skipped, seconds: a line for each part

export CGO_ENABLED=1
tools=(go tool -modfile=build/tools.mod)

# part NAME COMMAND...   runs one check; it passed, failed, or (status 3) could not be made here.
part() {
	local name=$1 start=$SECONDS status
	shift
	printf '\n=== %s\n' "$name"
	"$@"
	status=$?
	local p=0 f=0 s=0
	case $status in
	0) p=1 ;;
	3) s=1 ;;
	*) f=1; echo "--- $name FAILED (status $status)" | tee -a "$failures" ;;
	esac
	echo "$name|$p|$f|$s|$((SECONDS - start))" >>"$results"
}

# counted NAME COUNTS STATUS START   adds a part that counted its own tests in the file COUNTS ("passed failed skipped").
counted() {
	local p=0 f=0 s=0
	read -r p f s <"$2" || true
	if (($3 != 0 && f == 0)); then f=1; fi   # it ended badly without a test to blame
	if ((p + f + s == 0)); then f=1; fi      # it ran nothing
	echo "$1|$p|$f|$s|$((SECONDS - $4))" >>"$results"
}

gofmt_clean() {
	local dirty
	dirty=$(gofmt -l $(git ls-files '*.go'))
	[[ -z $dirty ]] || { echo "not formatted (make fmt): $dirty"; return 1; }
}

vet_all() {
	go vet ./... && go vet -tags no_ui ./frontend/... ./app/... || return
	if pkg-config --exists webkit2gtk-4.1 2>/dev/null; then
		go vet -tags desktop,production,webkit2_41 ./app/... .
	else
		echo "the window is not vetted: no webkit2gtk-4.1 here"
	fi
}

desktop_build() {
	pkg-config --exists webkit2gtk-4.1 2>/dev/null || { echo "not built: no webkit2gtk-4.1 here"; return 3; }
	make --no-print-directory desktop
}

# until_there SECONDS COMMAND...   returns once the command succeeds.
until_there() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < deadline)) || return 1
		sleep 0.1
	done
}

# window_opens opens the window on a screen of its own, asks what runs in it, and ends it.
window_opens() {
	[[ -x bin/freshet-desktop ]] && command -v Xvfb >/dev/null || { echo "not opened: no desktop build or no Xvfb here"; return 3; }
	local data=$work/window screen window status=0
	Xvfb -displayfd 1 -screen 0 1440x900x24 -nolisten tcp >"$work/display" 2>/dev/null &
	screen=$!
	until_there 30 test -s "$work/display" || { echo "no screen"; kill $screen; return 1; }
	DISPLAY=:$(<"$work/display") bin/freshet-desktop desktop --data "$data" >"$work/window.log" 2>&1 &
	window=$!
	until_there 60 test -e "$data/run.json" && bin/freshet status --data "$data" || status=1
	kill -TERM $window
	wait $window || status=1
	[[ ! -e $data/run.json ]] || { echo "the window ended without its instance's end"; status=1; }
	kill $screen
	wait $screen 2>/dev/null
	((status == 0)) || cat "$work/window.log"
	return $status
}

# generated_clean makes everything that is generated again: nothing may differ from before.
generated_clean() {
	local before after
	before=$(git diff; git status --porcelain)
	make --no-print-directory --silent generate || return
	after=$(git diff; git status --porcelain)
	[[ $before == "$after" ]] || { echo "make generate changed: $(git status --porcelain)"; return 1; }
}

# vitest_part NAME ARGS...   runs Vitest and takes its own counts.
vitest_part() {
	local name=$1 start=$SECONDS status
	shift
	printf '\n=== %s\n' "$name"
	(cd frontend && npx --no-install vitest run --reporter=default --reporter=json --outputFile.json="$work/vitest.json" "$@")
	status=$?
	node build/summary.mjs vitest "$work/vitest.json" "$work/counts" "$failures" || : >"$work/counts"
	rm -f "$work/vitest.json"
	counted "$name" "$work/counts" $status $start
}

go_tests() {
	local start=$SECONDS status
	printf '\n=== go test -race\n'
	go test -race -p 2 -timeout 15m -json ./... >"$work/go.json" 2>"$work/go.err"
	status=$?
	cat "$work/go.err"
	node build/summary.mjs go "$work/go.json" "$work/counts" "$failures" || : >"$work/counts"
	counted 'go test -race' "$work/counts" $status $start
}

part 'page: install' make --no-print-directory --silent frontend/node_modules/.package-lock.json
part 'page: check' npm --prefix frontend run --silent check
part 'gofmt' gofmt_clean
part 'go vet' vet_all
part 'staticcheck' "${tools[@]}" staticcheck ./...
part 'govulncheck' build/vulncheck.sh ./...
part 'dependencies and licences' node build/dependencies.mjs --check
part 'generated files' generated_clean
if [[ $only == all ]]; then
	vitest_part 'page: unit tests'
	part 'build' make --no-print-directory build
	part 'desktop build' desktop_build
	part 'desktop window, alone' window_opens
	vitest_part 'desktop window' --config e2e/window/vitest.config.ts
	go_tests
	if [[ -f frontend/e2e/vitest.config.ts ]]; then
		vitest_part 'page: in a browser' --config e2e/vitest.config.ts
	fi
fi

if [[ -s $failures ]]; then
	printf '\n=== what failed\n'
	cat "$failures"
fi
printf '\n=== what ran, in %d min %02d s\n' $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60))
passed=0 failed=0 skipped=0
while IFS='|' read -r name p f s seconds; do
	printf '%-28s %5d passed %4d failed %4d skipped %5d s\n' "$name" "$p" "$f" "$s" "$seconds"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done <"$results"
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
