"""Uses a broker with confluent-kafka (librdkafka), one word a step that went well."""
import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

brokers = {"bootstrap.servers": sys.argv[1]}
admin = AdminClient(brokers)
admin.create_topics([NewTopic("confluent", 2, 1)])["confluent"].result(30)
print("topic")

failed = []
producer = Producer({**brokers, "enable.idempotence": True})
for i in range(100):
    producer.produce("confluent", f"value {i}", f"key {i}", on_delivery=lambda err, _: err and failed.append(err))
assert producer.flush(30) == 0 and not failed, failed
print("produced")

group = {**brokers, "group.id": "confluent", "auto.offset.reset": "earliest", "enable.auto.commit": False}
consumer = Consumer(group)
consumer.subscribe(["confluent"])
seen = set()
while len(seen) < 100:
    message = consumer.poll(30)
    assert message is not None and message.error() is None, message
    seen.add(message.value().decode())
assert seen == {f"value {i}" for i in range(100)}
print("consumed")

consumer.commit(asynchronous=False)
parts = consumer.committed([TopicPartition("confluent", p) for p in range(2)], 30)
assert sum(p.offset for p in parts) == 100, parts
consumer.close()
print("committed")

topic = admin.list_topics("confluent", 30).topics["confluent"]
assert len(topic.partitions) == 2
resource = ConfigResource(ConfigResource.Type.TOPIC, "confluent")
config = admin.describe_configs([resource])[resource].result(30)
assert int(config["retention.ms"].value) > 0
groups = admin.list_consumer_groups().result(30)
assert "confluent" in [g.group_id for g in groups.valid], groups
print("described")

transactional = Producer({**brokers, "transactional.id": "confluent"})
transactional.init_transactions(30)
for commit in (True, False, True):
    transactional.begin_transaction()
    transactional.produce("confluent", "in" if commit else "out", partition=0)
    transactional.commit_transaction(30) if commit else transactional.abort_transaction(30)
reader = Consumer({**group, "group.id": "reader", "isolation.level": "read_committed", "enable.partition.eof": True})
reader.assign([TopicPartition("confluent", 0, parts[0].offset)])
values = []
while (message := reader.poll(30)) is not None and message.error() is None:
    values.append(message.value().decode())
assert values == ["in", "in"], values
reader.close()
print("transaction")
