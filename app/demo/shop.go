package demo

import (
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"freshet/backend/fault"
)

//go:embed schema.sql
var schemaSQL string

const (
	seedCustomers = 400
	seedProducts  = 120
	seedOrders    = 3000
	seedDays      = 7
	largeValue    = 9000 // bytes, well over the 8 kB of a page
)

// openShop makes the shop's tables and a history of orders, in one transaction, where they are missing.
func openShop(ctx context.Context, dsn string, log *slog.Logger) error {
	const op = "open the shop"
	const next = "start the demo afresh with --reset"
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fault.Wrap(fault.Unavailable, op, err, next)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var there bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass('public.outbox') IS NOT NULL").Scan(&there); err != nil {
		return fault.Wrap(fault.Unavailable, op, err, next)
	}
	if there {
		return nil
	}
	began := time.Now()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return fault.Wrap(fault.Unavailable, op, err, next)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if _, err := tx.Exec(ctx, schemaSQL); err != nil {
		return fault.Wrap(fault.Internal, op, err, next)
	}
	if err := seed(ctx, tx, time.Now()); err != nil {
		return fault.Wrap(fault.Internal, op, err, next)
	}
	if err := tx.Commit(ctx); err != nil {
		return fault.Wrap(fault.Unavailable, op, err, next)
	}
	log.Info("opened the shop", "orders", seedOrders, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// seed writes customers, products and the orders of the last days.
func seed(ctx context.Context, tx pgx.Tx, now time.Time) error {
	g := newGoods(rand.Uint64())
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"customers"},
		[]string{"email", "name", "phones", "loyalty_card", "credit_limit", "birthday", "newsletter", "preferences", "dossier", "created_at", "updated_at"},
		pgx.CopyFromSlice(seedCustomers, func(i int) ([]any, error) {
			since := now.Add(-time.Duration(seedDays*24+g.IntN(20000)) * time.Hour)
			var dossier *string
			if i%5 == 0 {
				text := g.large()
				dossier = &text
			}
			name := g.person()
			return []any{fmt.Sprintf("%s.%d@example.com", strings.ToLower(strings.ReplaceAll(name, " ", ".")), i+1), name, g.phones(), g.loyaltyCard(),
				g.money(1000_00, 9000_00), now.AddDate(-18-g.IntN(60), 0, -g.IntN(365)), g.IntN(3) == 0, g.preferences(), dossier, since, since}, nil
		}))
	if err != nil {
		return err
	}
	products := make([]product, seedProducts)
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"products"},
		[]string{"sku", "name", "price", "weight_kg", "stock", "tags", "description", "specification", "photo", "gallery", "updated_at"},
		pgx.CopyFromSlice(seedProducts, func(i int) ([]any, error) {
			p := product{sku: fmt.Sprintf("%s-%04d", g.pick(skuFamilies), 1000+i*7), cents: 199 + g.IntN(60000)}
			products[i] = p
			return []any{p.sku, g.pick(adjectives) + " " + g.pick(nouns), cents(p.cents), fmt.Sprintf("%d.%0*d", g.IntN(30), 1+g.IntN(9), 1+g.IntN(9)),
				500 + g.IntN(5000), g.words(tags, 4), g.large(), g.specification(), g.bytes(largeValue), g.gallery(), now}, nil
		}))
	if err != nil {
		return err
	}

	var orders, lines, payments, shipments [][]any
	step := time.Duration(seedDays) * 24 * time.Hour / seedOrders
	for i := range seedOrders {
		placed := now.Add(-time.Duration(seedOrders-i) * step).Add(time.Duration(g.IntN(1_000_000)) * time.Microsecond)
		id := firstOrder + int64(i)
		status := "delivered"
		switch {
		case i >= seedOrders-40:
			status = "placed"
		case i >= seedOrders-120:
			status = "paid"
		case i >= seedOrders-400:
			status = "shipped"
		case i%31 == 0:
			status = "declined"
		}
		total := 0
		for n := range 1 + g.IntN(4) {
			p, quantity := products[g.IntN(len(products))], 1+g.IntN(3)
			total += p.cents * quantity
			lines = append(lines, []any{id, n + 1, p.sku, quantity, cents(p.cents), "0.0000", g.maybe("Happy birthday!")})
		}
		customer := 1 + g.IntN(seedCustomers)
		orders = append(orders, []any{id, customer, status, "EUR", cents(total), g.exchangeRate(), g.maybe("leave it with the neighbours"), g.labels(), g.delivery(), placed, placed})
		if status == "placed" {
			continue
		}
		payments = append(payments, []any{id, g.pick(methods), cents(total), status != "declined", g.bytes(16), placed.Add(time.Minute)})
		if status == "shipped" || status == "delivered" {
			shipped := placed.Add(3 * time.Hour)
			var delivered *time.Time
			if status == "delivered" {
				at := shipped.Add(20 * time.Hour)
				delivered = &at
			}
			shipments = append(shipments, []any{id, g.pick(carriers), g.packages(), g.Float64(), shipped, delivered})
		}
	}
	for _, t := range []struct {
		name    string
		columns []string
		rows    [][]any
	}{
		{"orders", []string{"id", "customer_id", "status", "currency", "total", "exchange_rate", "note", "labels", "delivery", "placed_at", "updated_at"}, orders},
		{"order_lines", []string{"order_id", "line_no", "sku", "quantity", "unit_price", "discount", "gift_message"}, lines},
		{"payments", []string{"order_id", "method", "amount", "succeeded", "authorization_code", "paid_at"}, payments},
		{"shipments", []string{"order_id", "carrier", "packages", "volume_m3", "shipped_at", "delivered_at"}, shipments},
	} {
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{t.name}, t.columns, pgx.CopyFromRows(t.rows)); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	_, err = tx.Exec(ctx, "SELECT setval('order_numbers', $1)", firstOrder+seedOrders-1)
	return err
}

// firstOrder is the first order number, as schema.sql has it.
const firstOrder = 9007199254741001

type product struct {
	sku   string
	cents int
}

// goods makes up what the shop's rows hold. It is for one goroutine.
type goods struct{ *rand.Rand }

func newGoods(seed uint64) goods { return goods{rand.New(rand.NewPCG(seed, 0x5ee7))} }

var (
	firstNames  = []string{"Ada", "Blaise", "Chiara", "Dmitri", "Emmy", "Farouk", "Grace", "Hiro", "Ines", "Jürgen", "Katarzyna", "Leonhard", "Mária", "Niels", "Ólafur", "Priya", "René", "Sofia", "Tünde", "Zoë"}
	lastNames   = []string{"Archer", "Baker", "Côté", "Dvořák", "Eriksen", "Fischer", "García", "Horváth", "Ito", "Jansen", "Kowalska", "Lindqvist", "Müller", "Novák", "O'Brien", "Petrov", "Quint", "Rossi", "Šimić", "Weber"}
	skuFamilies = []string{"BOOK", "GARD", "HOME", "KIDS", "MUSI", "SPRT", "TOOL"}
	adjectives  = []string{"Brass", "Folding", "Little", "Oak", "Quiet", "Red", "Silver", "Sturdy", "Waterproof", "Woollen"}
	nouns       = []string{"atlas", "bench", "compass", "drum", "easel", "flask", "globe", "hammock", "kettle", "lantern", "satchel", "telescope"}
	tags        = []string{"new", "sale", "gift", "outdoor", "handmade", "fragile", "bulky", "eco", "with \"quotes\"", "back\\slash", ""}
	methods     = []string{"card", "transfer", "wallet", "invoice"}
	carriers    = []string{"Blue Van", "Cargo Bike", "Night Train"}
	streets     = []string{"Harbour Street", "Mill Lane", "Rue du Moulin", "Hauptstraße", "Żwirki i Wigury", "Plaza Mayor"}
)

func (g goods) pick(list []string) string { return list[g.IntN(len(list))] }

func (g goods) person() string { return g.pick(firstNames) + " " + g.pick(lastNames) }

// words is up to n of list, in an array that may be empty.
func (g goods) words(list []string, n int) []string {
	words := make([]string, g.IntN(n))
	for i := range words {
		words[i] = g.pick(list)
	}
	return words
}

func (g goods) phones() []string {
	phones := make([]string, 1+g.IntN(2))
	for i := range phones {
		phones[i] = fmt.Sprintf("+49 30 %07d", g.IntN(10_000_000))
	}
	return phones
}

func (g goods) loyaltyCard() int64 { return 1<<62 + g.Int64N(1<<61) }

func (g goods) money(low, high int) string { return cents(low + g.IntN(high-low)) }

func cents(n int) string { return fmt.Sprintf("%d.%02d", n/100, n%100) }

// exchangeRate has anything from 4 to 19 decimals, trailing zeros among them.
func (g goods) exchangeRate() string {
	n := 4 + g.IntN(16)
	digits := make([]byte, n)
	for i := range digits {
		digits[i] = byte('0' + g.IntN(10))
	}
	return "1." + string(digits)
}

func (g goods) maybe(text string) *string {
	if g.IntN(6) != 0 {
		return nil
	}
	return &text
}

// labels is null, empty, or a list of which one can be null.
func (g goods) labels() []*string {
	switch g.IntN(4) {
	case 0:
		return nil
	case 1:
		return []*string{}
	}
	a, b := g.pick(tags), g.pick(tags)
	return []*string{&a, nil, &b}[:1+g.IntN(3)]
}

func (g goods) packages() []string {
	packages := make([]string, 1+g.IntN(3))
	for i := range packages {
		packages[i] = fmt.Sprintf("00%018d", g.Int64N(1_000_000_000_000_000_000))
	}
	return packages
}

// bytes cannot be compressed.
func (g goods) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

// large is a text that a page cannot hold and that hardly compresses.
func (g goods) large() string { return base64.StdEncoding.EncodeToString(g.bytes(largeValue)) }

func (g goods) gallery() []string { return []string{g.large(), "front.jpg", "back.jpg"} }

func (g goods) preferences() json.RawMessage {
	return mustJSON(map[string]any{"language": g.pick([]string{"de", "en", "fr", "pl"}), "theme": g.pick([]string{"dark", "light"}), "visits": g.Int64N(1 << 60), "size": nil})
}

func (g goods) specification() json.RawMessage {
	return mustJSON(map[string]any{"sheet": g.large(), "power": map[string]any{"volts": 230, "watts": json.Number(g.exchangeRate())}, "colours": g.words(tags, 5)})
}

func (g goods) delivery() json.RawMessage {
	return mustJSON(map[string]any{"street": fmt.Sprintf("%s %d", g.pick(streets), 1+g.IntN(180)), "floor": g.IntN(9), "express": g.IntN(5) == 0, "distance_km": json.Number(g.exchangeRate())})
}

// mustJSON encodes what is made of texts, numbers and lists, which always can be.
func mustJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
