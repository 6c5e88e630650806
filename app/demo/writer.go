package demo

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"freshet/backend/clock"
)

const (
	writers     = 4                // sessions of the shop
	waveLength  = 3 * time.Minute  // from one busy time to the next
	waveHeight  = 0.4              // of the rate, up and down
	reconnect   = time.Second      // between two attempts to reach the database
	ordersKept  = 20_000           // older ones are archived away
	basketsKept = 500              // rows; more baskets wait for the next clearing
	outboxKept  = 10 * time.Minute // its events have long been captured then
)

// writer is the shop at work: sessions that do transactions at a rate.
type writer struct {
	dsn       string
	log       *slog.Logger
	pace      pace
	began     time.Time
	committed atomic.Int64
	chores    chores

	gate    sync.RWMutex  // held for reading in a transaction, for writing while the shop is paused
	rate    atomic.Uint64 // bits of a float64
	paused  bool          // only the goroutine that takes commands looks at it
	trouble atomic.Bool   // the last transaction failed: said once
}

// runWriter does transactions until it is told to end. It begins paused, until it is told a rate.
func runWriter(ctx context.Context, t *talk, dsn string, log *slog.Logger) error {
	w := &writer{dsn: dsn, log: log, began: time.Now(), paused: true}
	w.gate.Lock()
	w.setRate(1)
	ctx, cancel := context.WithCancel(ctx)
	var sessions sync.WaitGroup
	for i := range writers {
		sessions.Go(func() { w.session(ctx, i) })
	}
	t.say(reply{})
	t.serve(w.answer)
	cancel()
	if w.paused {
		w.gate.Unlock()
	}
	sessions.Wait()
	return nil
}

// answer does as told. A pause waits for the transactions that are open.
func (w *writer) answer(c command) reply {
	if c.Do == "set" {
		w.setRate(c.Rate)
		switch {
		case c.Paused && !w.paused:
			w.gate.Lock()
		case !c.Paused && w.paused:
			w.gate.Unlock()
		}
		w.paused = c.Paused
	}
	return reply{Done: w.committed.Load()}
}

func (w *writer) setRate(rate float64) { w.rate.Store(math.Float64bits(rate)) }

// rateNow is the rate at this point of the wave.
func (w *writer) rateNow() float64 {
	phase := 2 * math.Pi * float64(time.Since(w.began)) / float64(waveLength)
	return math.Float64frombits(w.rate.Load()) * (1 + waveHeight*math.Sin(phase))
}

// session does one transaction after the other, over a connection that it makes anew when it must.
func (w *writer) session(ctx context.Context, number int) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	s := &shop{goods: newGoods(rand.Uint64())}
	for w.pace.wait(ctx, w.rateNow()) {
		w.gate.RLock()
		var err error
		if ctx.Err() == nil {
			conn, err = w.transaction(ctx, conn, s, number)
		}
		w.gate.RUnlock()
		switch {
		case err == nil:
			if w.trouble.CompareAndSwap(true, false) {
				w.log.Info("the shop writes again")
			}
		case ctx.Err() != nil:
			return
		default:
			if w.trouble.CompareAndSwap(false, true) {
				w.log.Warn("the shop cannot write", "error", err)
			}
			if conn == nil {
				_ = clock.Sleep(ctx, reconnect)
			}
		}
	}
}

// transaction does one transaction; the connection it returns is nil where the old one was lost.
func (w *writer) transaction(ctx context.Context, conn *pgx.Conn, s *shop, number int) (*pgx.Conn, error) {
	if conn == nil {
		limited, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		var err error
		if conn, err = pgx.Connect(limited, w.dsn); err != nil {
			return nil, err
		}
	}
	do := s.act()
	if number == 0 { // one session does the chores, so that they never meet
		if chore := w.chores.due(time.Now()); chore != nil {
			do = chore
		}
	}
	// What has begun is finished also when we are told to end: a half-done commit would leave nobody knowing.
	err := pgx.BeginFunc(context.WithoutCancel(ctx), conn, func(tx pgx.Tx) error { return do(s, context.WithoutCancel(ctx), tx) })
	if err == nil {
		w.committed.Add(1)
	}
	if conn.IsClosed() {
		conn = nil
	}
	return conn, err
}

// act is one transaction of the shop.
type act func(*shop, context.Context, pgx.Tx) error

// shop is one session's view: what it makes up.
type shop struct{ goods }

// acts are what people do, and how many of a hundred do it. Each step of an order is taken a little more often than the
// one before and falls back to that where there is nothing to do, so that no state fills up.
var acts = []struct {
	share int
	do    act
}{
	{22, (*shop).placeOrder},
	{23, (*shop).pay},
	{21, (*shop).ship},
	{21, (*shop).deliver},
	{5, (*shop).touchCustomer},
	{5, (*shop).touchProduct},
	{3, (*shop).fillBasket},
}

func (s *shop) act() act {
	n := s.IntN(100)
	for _, a := range acts {
		if n -= a.share; n < 0 {
			return a.do
		}
	}
	return acts[0].do
}

// placeOrder sells up to four products: order, lines, stock and the event, all or nothing.
func (s *shop) placeOrder(ctx context.Context, tx pgx.Tx) error {
	// One order of locking for all sessions, so that two of them never wait for each other.
	rows, err := tx.Query(ctx, `
		WITH chosen AS (SELECT sku FROM products ORDER BY random() LIMIT $1)
		SELECT p.sku, (p.price * 100)::bigint FROM products p JOIN chosen USING (sku) ORDER BY p.sku FOR UPDATE OF p`, 1+s.IntN(4))
	if err != nil {
		return err
	}
	products, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (p product, err error) {
		err = r.Scan(&p.sku, &p.cents)
		return p, err
	})
	if err != nil {
		return err
	}
	quantities := make([]int, len(products))
	total := 0
	for i, p := range products {
		quantities[i] = 1 + s.IntN(3)
		total += p.cents * quantities[i]
	}
	var id int64
	if err := tx.QueryRow(ctx, `
		INSERT INTO orders (customer_id, status, currency, total, exchange_rate, note, labels, delivery)
		VALUES ((SELECT id FROM customers ORDER BY random() LIMIT 1), 'placed', 'EUR', $1, $2, $3, $4, $5) RETURNING id`,
		cents(total), s.exchangeRate(), s.maybe("leave it with the neighbours"), s.labels(), s.delivery()).Scan(&id); err != nil {
		return err
	}
	for i, p := range products {
		if _, err := tx.Exec(ctx, "INSERT INTO order_lines (order_id, line_no, sku, quantity, unit_price, discount, gift_message) VALUES ($1, $2, $3, $4, $5, $6, $7)",
			id, i+1, p.sku, quantities[i], cents(p.cents), fmt.Sprintf("0.%04d", s.IntN(3)*500), s.maybe("Happy birthday!")); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE products SET stock = CASE WHEN stock < $2 THEN stock + 5000 ELSE stock - $2 END, updated_at = clock_timestamp() WHERE sku = $1", p.sku, quantities[i]); err != nil {
			return err
		}
	}
	return s.event(ctx, tx, "order", id, "OrderPlaced", map[string]any{"order_id": id, "currency": "EUR", "total": cents(total), "lines": len(products)})
}

// pay settles the oldest order that is open; one in twelve is declined.
func (s *shop) pay(ctx context.Context, tx pgx.Tx) error {
	succeeded := s.IntN(12) != 0
	status := "paid"
	if !succeeded {
		status = "declined"
	}
	var id int64
	var total string
	err := tx.QueryRow(ctx, `
		UPDATE orders SET status = $1, updated_at = clock_timestamp()
		WHERE id = (SELECT id FROM orders WHERE status = 'placed' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING id, total::text`, status).Scan(&id, &total)
	if err == pgx.ErrNoRows {
		return s.placeOrder(ctx, tx)
	}
	if err != nil {
		return err
	}
	var code []byte
	if succeeded {
		code = s.bytes(16)
	}
	if _, err := tx.Exec(ctx, "INSERT INTO payments (order_id, method, amount, succeeded, authorization_code) VALUES ($1, $2, $3, $4, $5)",
		id, s.pick(methods), total, succeeded, code); err != nil || !succeeded {
		return err
	}
	return s.event(ctx, tx, "payment", id, "PaymentSucceeded", map[string]any{"order_id": id, "currency": "EUR", "amount": total})
}

func (s *shop) ship(ctx context.Context, tx pgx.Tx) error {
	var id int64
	err := tx.QueryRow(ctx, `
		UPDATE orders SET status = 'shipped', updated_at = clock_timestamp()
		WHERE id = (SELECT id FROM orders WHERE status = 'paid' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING id`).Scan(&id)
	if err == pgx.ErrNoRows {
		return s.pay(ctx, tx)
	}
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "INSERT INTO shipments (order_id, carrier, packages, volume_m3) VALUES ($1, $2, $3, $4)", id, s.pick(carriers), s.packages(), s.Float64())
	return err
}

func (s *shop) deliver(ctx context.Context, tx pgx.Tx) error {
	var id int64
	err := tx.QueryRow(ctx, `
		UPDATE orders SET status = 'delivered', updated_at = clock_timestamp()
		WHERE id = (SELECT id FROM orders WHERE status = 'shipped' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING id`).Scan(&id)
	if err == pgx.ErrNoRows {
		return s.ship(ctx, tx)
	}
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "UPDATE shipments SET delivered_at = clock_timestamp() WHERE order_id = $1", id)
	return err
}

// touchCustomer changes small columns and leaves the large one alone.
func (s *shop) touchCustomer(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `
		UPDATE customers SET preferences = $1, phones = $2, loyalty_card = $3, newsletter = NOT newsletter, updated_at = clock_timestamp()
		WHERE id = (SELECT id FROM customers ORDER BY random() LIMIT 1)`, s.preferences(), s.phones(), s.loyaltyCard())
	return err
}

// touchProduct changes the price and leaves the large columns alone.
func (s *shop) touchProduct(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `
		UPDATE products SET price = $1, tags = $2, updated_at = clock_timestamp()
		WHERE sku = (SELECT sku FROM products ORDER BY random() LIMIT 1)`, s.money(199, 60199), s.words(tags, 4))
	return err
}

func (s *shop) fillBasket(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO basket_items (basket_id, sku, quantity)
		SELECT $1, (SELECT sku FROM products ORDER BY random() LIMIT 1), $2
		WHERE (SELECT count(*) FROM basket_items) < $3
		ON CONFLICT (basket_id, sku) DO UPDATE SET quantity = basket_items.quantity + excluded.quantity`,
		1<<53+s.Int64N(40), 1+s.IntN(3), basketsKept)
	return err
}

// event tells other systems, by the outbox.
func (s *shop) event(ctx context.Context, tx pgx.Tx, aggregate string, id int64, kind string, payload map[string]any) error {
	return writeEvent(ctx, tx, aggregate, fmt.Sprint(id), kind, payload)
}

func writeEvent(ctx context.Context, tx pgx.Tx, aggregate, id, kind string, payload map[string]any) error {
	_, err := tx.Exec(ctx, "INSERT INTO outbox (aggregate_type, aggregate_id, type, payload) VALUES ($1, $2, $3, $4)", aggregate, id, kind, mustJSON(payload))
	return err
}

// renameProduct changes a key, and leaves every large column alone.
func (s *shop) renameProduct(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `
		UPDATE products SET sku = split_part(sku, '-', 1) || '-' || lpad($1::integer::text, 6, '0'), updated_at = clock_timestamp()
		WHERE sku = (SELECT sku FROM products ORDER BY random() LIMIT 1)`, s.IntN(1_000_000))
	return err
}

// renumberLine changes a composite key: the newest order's last line goes to the end of a long list.
func (s *shop) renumberLine(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `
		UPDATE order_lines SET line_no = line_no + 100
		WHERE (order_id, line_no) = (SELECT order_id, line_no FROM order_lines ORDER BY order_id DESC, line_no DESC LIMIT 1) AND line_no < 100`)
	return err
}

// rewriteLarge changes one of the large values of each kind.
func (s *shop) rewriteLarge(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "UPDATE customers SET dossier = $1, updated_at = clock_timestamp() WHERE id = (SELECT id FROM customers ORDER BY random() LIMIT 1)", s.large()); err != nil {
		return err
	}
	columns := []struct {
		name  string
		value any
	}{{"description", s.large()}, {"specification", s.specification()}, {"photo", s.bytes(largeValue)}, {"gallery", s.gallery()}}
	c := columns[s.IntN(len(columns))]
	_, err := tx.Exec(ctx, "UPDATE products SET "+c.name+" = $1, updated_at = clock_timestamp() WHERE sku = (SELECT sku FROM products ORDER BY random() LIMIT 1)", c.value)
	return err
}

// clearBaskets empties the table at once.
func (s *shop) clearBaskets(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, "TRUNCATE basket_items")
	return err
}

// archive deletes the oldest orders, with what belongs to them, and old events.
func (s *shop) archive(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "DELETE FROM outbox WHERE created_at < clock_timestamp() - make_interval(secs => $1)", outboxKept.Seconds()); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		DELETE FROM orders WHERE id IN (
			SELECT id FROM orders WHERE status IN ('delivered', 'declined') ORDER BY id
			LIMIT greatest(0, (SELECT count(*) FROM orders) - $1))`, ordersKept)
	return err
}

// chores are what the shop does now and then whatever its rate.
type chores struct{ next []time.Time }

var choreList = []struct {
	first, every time.Duration
	do           act
}{
	{4 * time.Second, 12 * time.Second, (*shop).renameProduct},
	{7 * time.Second, 20 * time.Second, (*shop).renumberLine},
	{10 * time.Second, 15 * time.Second, (*shop).rewriteLarge},
	{15 * time.Second, 40 * time.Second, (*shop).clearBaskets},
	{30 * time.Second, 30 * time.Second, (*shop).archive},
}

// due returns the chore that is to be done now, if any.
func (c *chores) due(now time.Time) act {
	if c.next == nil {
		for _, l := range choreList {
			c.next = append(c.next, now.Add(l.first))
		}
	}
	i := slices.IndexFunc(c.next, func(t time.Time) bool { return !now.Before(t) })
	if i < 0 {
		return nil
	}
	c.next[i] = now.Add(choreList[i].every)
	return choreList[i].do
}
