"""Uses a broker with kafka-python, one word a step that went well."""
import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

brokers = {"bootstrap_servers": sys.argv[1]}
admin = KafkaAdminClient(**brokers)
admin.create_topics([NewTopic("python", 2, 1)])
print("topic")

producer = KafkaProducer(**brokers, enable_idempotence=True)
for sent in [producer.send("python", f"value {i}".encode(), f"key {i}".encode()) for i in range(100)]:
    sent.get(30)
print("produced")

consumer = KafkaConsumer("python", **brokers, group_id="python", auto_offset_reset="earliest", enable_auto_commit=False)
seen = set()
while len(seen) < 100:
    for messages in consumer.poll(30000).values():
        seen.update(m.value.decode() for m in messages)
assert seen == {f"value {i}" for i in range(100)}
print("consumed")

consumer.commit()
parts = [TopicPartition("python", p) for p in range(2)]
offsets = [consumer.committed(p) for p in parts]
assert sum(offsets) == 100, offsets
consumer.close()
print("committed")

assert len(admin.describe_topics(["python"])[0]["partitions"]) == 2
assert "python" in str(admin.list_groups())
print("described")

transactional = KafkaProducer(**brokers, transactional_id="python")
transactional.init_transactions()
for commit in (True, False, True):
    transactional.begin_transaction()
    transactional.send("python", b"in" if commit else b"out", partition=0).get(30)
    transactional.commit_transaction() if commit else transactional.abort_transaction()
reader = KafkaConsumer(**brokers, isolation_level="read_committed", consumer_timeout_ms=3000)
reader.assign([parts[0]])
reader.seek(parts[0], offsets[0])
values = [m.value for m in reader]
assert values == [b"in", b"in"], values
print("transaction")
