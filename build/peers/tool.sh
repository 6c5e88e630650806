#!/usr/bin/env bash
# tool.sh NAME ARGS...   runs one of Kafka's command line tools, by its usual name without "kafka-": topics, configs,
# groups, consumer-groups, share-groups, get-offsets, console-producer, console-consumer, console-share-consumer,
# verifiable-producer, verifiable-consumer, producer-perf-test, consumer-perf-test, transactions, delete-records,
# broker-api-versions, features, acls, dump-log, storage.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tools=org.apache.kafka.tools
case ${1:-} in
topics) class=$tools.TopicCommand ;;
configs) class=kafka.admin.ConfigCommand ;;
groups) class=$tools.GroupsCommand ;;
consumer-groups) class=$tools.consumer.group.ConsumerGroupCommand ;;
share-groups) class=$tools.consumer.group.ShareGroupCommand ;;
get-offsets) class=$tools.GetOffsetShell ;;
console-producer) class=$tools.ConsoleProducer ;;
console-consumer) class=$tools.consumer.ConsoleConsumer ;;
console-share-consumer) class=$tools.consumer.ConsoleShareConsumer ;;
verifiable-producer) class=$tools.VerifiableProducer ;;
verifiable-consumer) class=$tools.VerifiableConsumer ;;
producer-perf-test) class=$tools.ProducerPerformance ;;
consumer-perf-test) class=$tools.ConsumerPerformance ;;
transactions) class=$tools.TransactionsCommand ;;
delete-records) class=$tools.DeleteRecordsCommand ;;
broker-api-versions) class=$tools.BrokerApiVersionsCommand ;;
features) class=$tools.FeatureCommand ;;
acls) class=$tools.AclCommand ;;
dump-log) class=$tools.DumpLogSegments ;;
storage) class=kafka.tools.StorageTool ;;
*) usage ;;
esac
# A tool lives for seconds: the first compiler is enough for it.
kafka_java "$peers/tmp" "-Xmx$heap" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dpeer.log=warn "$class" "${@:2}"
