#!/usr/bin/env bash
# connect.sh run DIR BROKER CONNECTOR.json...   a standalone Kafka Connect worker with Debezium's connectors, in the
# foreground, its log on standard output. A CONNECTOR is {"name": ..., "config": {...}}; records are JSON without schemas
# unless it says otherwise. Writes DIR/rest (URL); DIR keeps the offsets. Heap: $HEAP.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

properties() { # DIR BROKER PORT
	cat <<-END
		bootstrap.servers=$2
		listeners=http://127.0.0.1:$3
		plugin.path=$peers/connect
		plugin.discovery=service_load
		key.converter=org.apache.kafka.connect.json.JsonConverter
		key.converter.schemas.enable=false
		value.converter=org.apache.kafka.connect.json.JsonConverter
		value.converter.schemas.enable=false
		offset.storage.file.filename=$1/offsets
		offset.flush.interval.ms=1000
	END
}

[[ ${1-} == run && $# -ge 4 ]] || usage
dir=$(mkdir -p "$2" && cd "$2" && pwd)
[[ -f $peers/connect/.complete ]] || die "Debezium is not in $peers: run $here/fetch.sh connect"
[[ -f $dir/rest ]] || echo "http://127.0.0.1:$(free_port)" >"$dir/rest"
rest=$(<"$dir/rest")
properties "$dir" "$3" "${rest##*:}" >"$dir/worker.properties"
kafka_java "$dir/tmp" "-Dfreshet.peer=$dir" "-Xmx$heap" org.apache.kafka.connect.cli.ConnectStandalone "$dir/worker.properties" "${@:4}"
