package postgres

import (
	"strconv"
	"time"

	"freshet/backend/stream"
)

// envelope holds the parts of a record's value that are the same for many.
type envelope struct {
	name     []byte // source's fields before ts_ms
	database []byte // source's db

	txMillis []byte // ts_ms
	txFirst  []byte // from snapshot to sequence's first half
	txTimes  []byte // ,"ts_us":…,"ts_ns":…,
	txID     []byte // ,"txId":…,"lsn":
	txOrigin []byte // from xmin on

	nowMillis []byte
	now       []byte // ,"ts_ms":… to the end
	end       []byte // of a value

	// What provide.transaction.metadata tells of a transaction.
	tells   bool
	counted bool   // it has an id
	id      []byte // {"id":"ID: up to the position
	serial  uint64 // of the transaction in this run
	total   uint64
	tables  []*eventCount // those with events in it
}

// eventCount counts the events of one table in a transaction.
type eventCount struct {
	name   []byte // JSON
	serial uint64
	n      uint64
}

func (s *Source) newEnvelope() *envelope {
	e := &envelope{tells: s.handling.transactions}
	_, e.end = around(s.handling.valueSchemas, connectType{})
	e.name = append(e.name, `{"version":`...)
	e.name, _ = encodeString(e.name, []byte(s.o.Version))
	e.name = append(e.name, `,"connector":"postgresql","name":`...)
	e.name, _ = encodeString(e.name, []byte(s.o.Prefix))
	e.name = append(e.name, `,"ts_ms":`...)
	e.database, _ = encodeString(nil, []byte(s.database))
	e.at(time.Now().UnixMicro()) // a record that is made before the first at has its end
	return e
}

// begin prepares for a transaction. xid 0 is none, lastCommit 0 unknown.
func (e *envelope) begin(micros int64, snapshot string, xid uint32, lastCommit uint64) {
	e.txMillis = strconv.AppendInt(e.txMillis[:0], floorDiv(micros, 1000), 10)
	e.mark(snapshot, lastCommit)
	e.txTimes = append(e.txTimes[:0], `\"]","ts_us":`...)
	e.txTimes = strconv.AppendInt(e.txTimes, micros, 10)
	e.txTimes = append(e.txTimes, `,"ts_ns":`...)
	e.txTimes = strconv.AppendInt(e.txTimes, micros, 10)
	e.txTimes = append(e.txTimes, `000,`...)
	e.txID = append(e.txID[:0], `,"txId":`...)
	if xid == 0 {
		e.txID = append(e.txID, "null"...)
	} else {
		e.txID = strconv.AppendUint(e.txID, uint64(xid), 10)
	}
	e.txID = append(e.txID, `,"lsn":`...)
	e.txOrigin = append(e.txOrigin[:0], `,"xmin":null,"origin":null,"origin_lsn":null}`...)
	if e.tells {
		e.counted = xid != 0
		e.id = append(e.id[:0], `{"id":"`...)
		e.id = append(strconv.AppendUint(e.id, uint64(xid), 10), ':')
		e.serial++
		e.total = 0
		e.tables = e.tables[:0]
	}
}

// event counts an event of the transaction, whether its record is written or is in the topic already.
func (e *envelope) event(of *eventCount) {
	if !e.tells || !e.counted {
		return
	}
	if of.serial != e.serial {
		of.serial, of.n = e.serial, 0
		e.tables = append(e.tables, of)
	}
	e.total++
	of.n++
}

// mark sets the snapshot marker.
func (e *envelope) mark(snapshot string, lastCommit uint64) {
	e.txFirst = append(e.txFirst[:0], `,"snapshot":"`...)
	e.txFirst = append(e.txFirst, snapshot...)
	e.txFirst = append(e.txFirst, `","db":`...)
	e.txFirst = append(e.txFirst, e.database...)
	e.txFirst = append(e.txFirst, `,"sequence":"[`...)
	if lastCommit == 0 {
		e.txFirst = append(e.txFirst, "null"...)
	} else {
		e.txFirst = append(e.txFirst, `\"`...)
		e.txFirst = strconv.AppendUint(e.txFirst, lastCommit, 10)
		e.txFirst = append(e.txFirst, `\"`...)
	}
	e.txFirst = append(e.txFirst, `,\"`...)
}

// origin tells that the transaction came here by replication.
func (e *envelope) origin(name []byte, lsn uint64) {
	e.txOrigin = append(e.txOrigin[:0], `,"xmin":null,"origin":`...)
	e.txOrigin, _ = encodeString(e.txOrigin, name)
	e.txOrigin = append(e.txOrigin, `,"origin_lsn":`...)
	e.txOrigin = strconv.AppendUint(e.txOrigin, lsn, 10)
	e.txOrigin = append(e.txOrigin, '}')
}

// at sets the time at which records are made.
func (e *envelope) at(micros int64) {
	e.nowMillis = strconv.AppendInt(e.nowMillis[:0], floorDiv(micros, 1000), 10)
	e.now = append(e.now[:0], `","ts_ms":`...)
	e.now = append(e.now, e.nowMillis...)
	e.now = append(e.now, `,"ts_us":`...)
	e.now = strconv.AppendInt(e.now, micros, 10)
	e.now = append(e.now, `,"ts_ns":`...)
	e.now = strconv.AppendInt(e.now, micros, 10)
	e.now = append(e.now, "000}"...)
	e.now = append(e.now, e.end...)
}

// source appends the source block of a change at lsn.
func (e *envelope) source(dst, where []byte, lsn uint64) []byte {
	dst = append(dst, e.name...)
	dst = append(dst, e.txMillis...)
	dst = append(dst, e.txFirst...)
	dst = strconv.AppendUint(dst, lsn, 10)
	dst = append(dst, e.txTimes...)
	dst = append(dst, where...)
	dst = append(dst, e.txID...)
	dst = strconv.AppendUint(dst, lsn, 10)
	return append(dst, e.txOrigin...)
}

// transaction appends the event's place in its transaction.
func (e *envelope) transaction(dst []byte, of *eventCount, lsn uint64) []byte {
	if !e.tells || !e.counted {
		return append(dst, "null"...)
	}
	dst = append(dst, e.id...)
	dst = strconv.AppendUint(dst, lsn, 10)
	dst = append(dst, `","total_order":`...)
	dst = strconv.AppendUint(dst, e.total, 10)
	dst = append(dst, `,"data_collection_order":`...)
	dst = strconv.AppendUint(dst, of.n, 10)
	return append(dst, '}')
}

// appendCounts appends how many events the transaction had, of all tables and of each.
func (e *envelope) appendCounts(dst []byte) []byte {
	dst = strconv.AppendUint(append(dst, `,"event_count":`...), e.total, 10)
	dst = append(dst, `,"data_collections":[`...)
	for i, of := range e.tables {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, `{"data_collection":`...), of.name...)
		dst = strconv.AppendUint(append(dst, `,"event_count":`...), of.n, 10)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// tail appends everything after before and after.
func (e *envelope) tail(dst []byte, r *relation, op stream.Op, lsn uint64) []byte {
	dst = e.source(append(dst, `,"source":`...), r.where, lsn)
	dst = e.transaction(append(dst, `,"transaction":`...), r.events, lsn)
	dst = append(dst, `,"op":"`...)
	dst = append(dst, byte(op))
	return append(dst, e.now...)
}
