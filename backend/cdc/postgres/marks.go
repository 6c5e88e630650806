package postgres

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"freshet/backend/cdc"
)

// marks writes what is not about a row: transactions' begins and ends, logical messages and heartbeats.
type marks struct {
	s   *Source
	w   *cdc.Writer
	env *envelope

	transactions *cdc.Topic
	marked       markForm

	messages *cdc.Topic // made with the first message
	message  markForm
	content  form
	counted  eventCount // of messages
	hex      []byte

	heartbeats *cdc.Topic
	heartbeat  markForm
	due        atomic.Bool
}

// markForm is what stands around keys and values.
type markForm struct{ keyOpen, keyEnd, open, end []byte }

func (h *handling) mark(key, value connectType) (m markForm) {
	m.keyOpen, m.keyEnd = around(h.keySchemas, key)
	m.open, m.end = around(h.valueSchemas, value)
	return m
}

// newMarks makes the topics that are written to whatever comes.
func (s *Source) newMarks(ctx context.Context, w *cdc.Writer, e *envelope, values *codec) (*marks, error) {
	h := &s.handling
	m := &marks{s: s, w: w, env: e, content: values.byteaForm()}
	m.marked = h.mark(connectTransactionKey, connectTransactionValue)
	m.message = h.mark(connectMessageKey, connectMessage(m.content.connect))
	m.heartbeat = h.mark(connectHeartbeatKey, connectHeartbeatValue)
	m.counted.name = []byte(`"LOGICAL_DECODING_MESSAGE"`)
	var err error
	if h.transactions {
		if m.transactions, err = w.Topic(ctx, cdc.TopicName(s.o.Prefix, h.transactionTopic)); err != nil {
			return nil, err
		}
	}
	if h.heartbeat > 0 {
		if m.heartbeats, err = w.Topic(ctx, s.heartbeatTopic()); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// transaction writes that a transaction begins or has ended; lsn is where that is said.
func (m *marks) transaction(ctx context.Context, end bool, lsn uint64) error {
	e := m.env
	if m.transactions == nil || !e.counted {
		return nil
	}
	if end {
		m.w.Next() // behind the begin, whatever lies between
	}
	if m.w.Has(m.transactions) {
		return nil
	}
	rec := m.w.Record()
	rec.Key = strconv.AppendUint(append(append(rec.Key, m.marked.keyOpen...), e.id...), lsn, 10)
	rec.Key = append(append(rec.Key, '"', '}'), m.marked.keyEnd...)
	status := `{"status":"BEGIN",`
	if end {
		status = `{"status":"END",`
	}
	v := append(append(append(rec.Value, m.marked.open...), status...), e.id[1:]...)
	v = strconv.AppendUint(v, lsn, 10)
	if end {
		v = e.appendCounts(append(v, '"'))
	} else {
		v = append(v, `","event_count":null,"data_collections":null`...)
	}
	v = append(append(v, `,"ts_ms":`...), e.txMillis...)
	rec.Value = append(append(v, '}'), m.marked.end...)
	return m.w.Append(ctx, m.transactions, rec)
}

// logicalMessage is what pg_logical_emit_message wrote.
type logicalMessage struct {
	transactional bool
	lsn           uint64
	prefix        []byte
	content       []byte
}

func readLogicalMessage(b []byte) (m logicalMessage, ok bool) {
	f := fields{b: b}
	m.transactional = f.byte()&1 != 0
	m.lsn = f.uint64()
	m.prefix = f.text()
	m.content = f.take(int(f.uint32()))
	return m, f.done()
}

var nowhereInParticular = []byte(`"schema":"","table":""`)

// emitted writes a logical message. One that is not transactional is a transaction of its own, at its own position: the
// server sends what commits, and such messages, in the order of their records in the WAL.
func (m *marks) emitted(ctx context.Context, msg *logicalMessage) error {
	h, w := &m.s.handling, m.w
	prefix := string(msg.prefix)
	if h.excludePrefixes.match(prefix) || h.includePrefixes != nil && !h.includePrefixes.match(prefix) {
		w.Next()
		return nil
	}
	if m.messages == nil {
		var err error
		if m.messages, err = w.Topic(ctx, cdc.TopicName(m.s.o.Prefix, "message")); err != nil {
			return err
		}
	}
	m.env.event(&m.counted)
	if !w.Has(m.messages) {
		if err := m.appendMessage(ctx, msg); err != nil {
			return err
		}
	}
	w.Next()
	return nil
}

func (m *marks) appendMessage(ctx context.Context, msg *logicalMessage) error {
	e, rec := m.env, m.w.Record()
	rec.Key = append(append(rec.Key, m.message.keyOpen...), `{"prefix":`...)
	rec.Key, _ = encodeString(rec.Key, msg.prefix)
	rec.Key = append(append(rec.Key, '}'), m.message.keyEnd...)
	v := append(append(rec.Value, m.message.open...), `{"op":"m","ts_ms":`...)
	v = append(append(v, e.nowMillis...), `,"source":`...)
	v = e.source(v, nowhereInParticular, msg.lsn)
	v = append(v, `,"transaction":`...)
	v = e.transaction(v, &m.counted, msg.lsn)
	v = append(v, `,"message":{"prefix":`...)
	v, _ = encodeString(v, msg.prefix)
	v = append(v, `,"content":`...)
	m.hex = hexText(m.hex[:0], msg.content)
	v = m.content.encode.append(v, m.hex)
	rec.Value = append(append(v, '}', '}'), m.message.end...)
	return m.w.Append(ctx, m.messages, rec)
}

// beat writes a heartbeat where one is due. It is no change, and has no position.
func (m *marks) beat(ctx context.Context) error {
	if !m.due.Load() {
		return nil
	}
	m.due.Store(false)
	rec := m.w.Record()
	rec.Key = append(append(rec.Key, m.heartbeat.keyOpen...), `{"serverName":`...)
	rec.Key, _ = encodeString(rec.Key, []byte(m.s.o.Prefix))
	rec.Key = append(append(rec.Key, '}'), m.heartbeat.keyEnd...)
	v := append(append(rec.Value, m.heartbeat.open...), `{"ts_ms":`...)
	v = strconv.AppendInt(v, time.Now().UnixMilli(), 10)
	rec.Value = append(append(v, '}'), m.heartbeat.end...)
	return m.w.Aside(ctx, m.heartbeats, rec)
}

// keepTime makes a heartbeat due every so often until ctx ends, and runs the statement that goes with it.
func (m *marks) keepTime(ctx context.Context) {
	h := &m.s.handling
	tick := time.NewTicker(h.heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if h.heartbeatQuery != "" {
			err := m.s.act(ctx, h.heartbeatQuery)
			if err != nil && ctx.Err() == nil {
				m.s.o.Logger.Warn("the heartbeat's statement has failed", "err", err)
			}
			m.s.beatErr.Store(&err)
		}
		m.due.Store(true)
	}
}

// act runs a statement of the owner's on a connection of its own.
func (s *Source) act(ctx context.Context, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, monitorLimit)
	defer cancel()
	conn, err := s.open(ctx, true, maxControlBody)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	_, err = conn.Exec(ctx, sql)
	return s.fault("run "+heartbeatQuery, err)
}
