# shellcheck shell=bash
# lib.sh: what the scripts beside it share. Sourced, not run.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
peers=${FRESHET_PEERS:-$HOME/.cache/freshet-peers}
heap=${HEAP:-512m}

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# usage prints the comment at the top of the script.
usage() {
	sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
	exit 2
}

# free_port prints a loopback port, below the ephemeral range, that nothing listens on.
free_port() {
	local port
	while port=$((20000 + RANDOM % 12000)); do
		(: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	echo "$port"
}

# kafka_java FOLDER ARGS... becomes a JVM with Kafka's classpath, whose temporary files are in FOLDER: one that is killed
# leaves them behind.
kafka_java() {
	[[ -f $peers/kafka/.complete ]] || die "Kafka is not in $peers: run $here/fetch.sh kafka"
	mkdir -p "$1"
	exec java "-Djava.io.tmpdir=$1" -XX:-UsePerfData "-Dlog4j2.configurationFile=$here/log4j2.properties" -cp "$peers/kafka/*" "${@:2}"
}
