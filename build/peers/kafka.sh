#!/usr/bin/env bash
# kafka.sh start DIR [PORT] [--sasl | --tls] [NAME=VALUE...]   one Kafka broker (KRaft, its own controller) on loopback
# kafka.sh stop DIR
# kafka.sh run DIR [PORT] [--sasl | --tls] [NAME=VALUE...]     the same in the foreground, its log on standard output
# Writes DIR/broker (host:port) and DIR/client.properties (for clients and tools); start also DIR/pid and DIR/log. DIR
# keeps its data and settings: a second start goes on from there. NAME=VALUE are further settings of the broker.
# --sasl: SCRAM and ACLs; super user admin/admin-secret, and app/app-secret who may do nothing yet.
# --tls: a self-signed certificate, DIR/tls.pem. Heap: $HEAP.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scram='org.apache.kafka.common.security.scram.ScramLoginModule required username="admin" password="admin-secret";'
plain='org.apache.kafka.common.security.plain.PlainLoginModule required username="admin" password="admin-secret" user_admin="admin-secret";'

server_properties() { # DIR PORT CONTROLLER-PORT VARIANT
	cat <<-END
		node.id=1
		process.roles=broker,controller
		listeners=CLIENT://127.0.0.1:$2,CONTROLLER://127.0.0.1:$3
		advertised.listeners=CLIENT://127.0.0.1:$2
		inter.broker.listener.name=CLIENT
		controller.listener.names=CONTROLLER
		controller.quorum.bootstrap.servers=127.0.0.1:$3
		log.dirs=$1/data
		auto.create.topics.enable=false
		group.initial.rebalance.delay.ms=0
		offsets.topic.num.partitions=4
		offsets.topic.replication.factor=1
		transaction.state.log.num.partitions=4
		transaction.state.log.replication.factor=1
		transaction.state.log.min.isr=1
		share.coordinator.state.topic.num.partitions=4
		share.coordinator.state.topic.replication.factor=1
		share.coordinator.state.topic.min.isr=1
	END
	case $4 in
	--sasl)
		cat <<-END
			listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
			sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
			sasl.mechanism.inter.broker.protocol=SCRAM-SHA-256
			sasl.mechanism.controller.protocol=PLAIN
			listener.name.client.scram-sha-256.sasl.jaas.config=$scram
			listener.name.client.scram-sha-512.sasl.jaas.config=$scram
			listener.name.controller.sasl.enabled.mechanisms=PLAIN
			listener.name.controller.plain.sasl.jaas.config=$plain
			authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
			super.users=User:admin
		END
		;;
	--tls)
		cat <<-END
			listener.security.protocol.map=CLIENT:SSL,CONTROLLER:PLAINTEXT
			ssl.keystore.location=$1/tls.p12
			ssl.keystore.password=changeit
			ssl.keystore.type=PKCS12
			ssl.truststore.location=$1/tls.pem
			ssl.truststore.type=PEM
		END
		;;
	*) echo listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT ;;
	esac
}

client_properties() { # DIR VARIANT
	case $2 in
	--sasl) printf '%s\n' security.protocol=SASL_PLAINTEXT sasl.mechanism=SCRAM-SHA-256 "sasl.jaas.config=$scram" ;;
	--tls) printf '%s\n' security.protocol=SSL "ssl.truststore.location=$1/tls.pem" ssl.truststore.type=PEM ;;
	esac
}

certificate() { # DIR
	keytool -genkeypair -alias broker -keyalg EC -dname CN=127.0.0.1 -ext san=ip:127.0.0.1,dns:localhost -validity 365 \
		-storetype PKCS12 -keystore "$1/tls.p12" -storepass changeit
	keytool -exportcert -rfc -alias broker -keystore "$1/tls.p12" -storepass changeit -file "$1/tls.pem"
} 2>/dev/null

# prepare DIR [PORT] [VARIANT] [NAME=VALUE...] writes the settings and formats the storage, once.
prepare() {
	local dir=$1 port='' variant='' settings=() users=() user mechanism
	shift
	[[ ! -f $dir/broker ]] || return 0
	for arg; do
		case $arg in
		--sasl | --tls) variant=$arg ;;
		*=*) settings+=("$arg") ;;
		*[!0-9]* | '') usage ;;
		*) port=$arg ;;
		esac
	done
	: "${port:=$(free_port)}"
	[[ $variant != --tls ]] || certificate "$dir"
	{
		server_properties "$dir" "$port" "$(free_port)" "$variant"
		((!${#settings[@]})) || printf '%s\n' "${settings[@]}"
	} >"$dir/server.properties"
	client_properties "$dir" "$variant" >"$dir/client.properties"
	if [[ $variant == --sasl ]]; then
		for user in admin app; do
			for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
				users+=(--add-scram "$mechanism=[name=$user,password=$user-secret]")
			done
		done
	fi
	"$here/tool.sh" storage format --standalone -t "$("$here/tool.sh" storage random-uuid)" -c "$dir/server.properties" \
		${users[@]+"${users[@]}"} >/dev/null
	echo "127.0.0.1:$port" >"$dir/broker"
}

run() { # DIR
	kafka_java "$1/tmp" "-Dfreshet.peer=$1" "-Xmx$heap" -XX:+UseG1GC kafka.Kafka "$1/server.properties"
}

# running DIR tells whether the process of DIR/pid still is the broker that start started.
running() {
	[[ -f $1/pid ]] && ps -o args= -p "$(<"$1/pid")" 2>/dev/null | grep -qF -- "-Dfreshet.peer=$1 "
}

start() { # DIR
	local end=$((SECONDS + 60))
	! running "$1" || die "runs already in $1"
	: >"$1/log" # here and not in the child, so that the wait does not read the last run's
	nohup "$here/kafka.sh" run "$1" >>"$1/log" 2>&1 </dev/null &
	echo $! >"$1/pid"
	until grep -q 'Kafka Server started' "$1/log"; do
		kill -0 "$!" 2>/dev/null || { tail -n 20 "$1/log" >&2 && die "ended while starting: $1/log"; }
		((SECONDS < end)) || { tail -n 20 "$1/log" >&2 && die "does not answer: $1/log"; }
		sleep 0.2
	done
}

# stop DIR ends the broker: asking it, and after 30 s not asking.
stop() {
	local i
	if running "$1"; then
		kill "$(<"$1/pid")"
		for ((i = 0; i < 150; i++)); do running "$1" && sleep 0.2 || break; done
		! running "$1" || kill -9 "$(<"$1/pid")"
	fi
	rm -f "$1/pid"
}

verb=${1:-}
(($# >= 2)) || usage
mkdir -p "$2"
dir=$(cd "$2" && pwd)
case $verb in
start | run)
	prepare "$dir" "${@:3}"
	"$verb" "$dir"
	;;
stop) stop "$dir" ;;
*) usage ;;
esac
