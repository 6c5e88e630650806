// Answers of a trace as the server writes them: texts, so that no digit of a row goes through JavaScript's numbers.

export interface TraceOptions {
  /** One letter a version: c, u, d. */
  ops?: string
  /** Of the newest version. */
  waits?: boolean
  /** A hop of a name that would do harm. */
  evil?: string
  /** The row after version i, as JSON. */
  row?: (i: number) => string
  held?: { state: 'held' | 'absent' | 'unknown'; row?: string; differs?: string[]; missing?: string[]; why?: string; behind?: number }
  stopped?: string
}

export const bigKey = '9007199254740993'

const states = ['placed', 'paid', 'shipped', 'delivered']

export function traced(o: TraceOptions = {}): string {
  const now = Date.now()
  const iso = (ms: number) => new Date(ms).toISOString()
  const ops = o.ops ?? 'cuu'
  const reading = (v: number) => ({ value: v, low: v * 0.9, high: v * 1.1, unit: 's', state: 'bounded', as_of: iso(now) })
  const row =
    o.row ??
    ((i: number) =>
      `{"id":${bigKey},"status":"${states[i % states.length]}","total":"QWA=","rate":0.10,"note":${i ? '"<b>bold</b>\\u202e"' : 'null'}}`)
  const items = [...ops].map((op, i) => {
    const last = i === ops.length - 1
    const age = (ops.length - i) * 20_000
    const v = {
      op,
      position: 'pg/1/freshet_shop/1@4a7c1f38d8.0',
      commit: iso(now - age),
      time: iso(now - age + 120),
      tx: `${91882734 + i}`,
      key: `{"id":${bigKey}}`,
      cluster: 'embedded',
      topic: 'shop.public.orders',
      partition: 0,
      offset: `${4_013_500 + i}`,
      hops: [
        { to: 'captured', state: 'arrived', delay: reading(0.034) },
        { to: 'topic', state: 'arrived', delay: reading(0.2) },
        { to: 'group:fulfilment', state: 'arrived', delay: reading(0.5) },
        ...(o.evil
          ? [
              {
                to: `group:${o.evil}`,
                state: 'unknown',
                delay: { value: null, low: null, high: null, unit: 's', state: 'unknown', why: o.evil },
              },
            ]
          : []),
        last && o.waits
          ? { to: 'sink:warehouse', state: 'waiting', delay: reading(age / 1000) }
          : { to: 'sink:warehouse', state: 'arrived', delay: reading(1.2) },
      ],
    }
    return `${JSON.stringify(v).slice(0, -1)},"after":${op === 'd' ? 'null' : row(i)}}`
  })
  const h = o.held
  const held = h
    ? `${JSON.stringify({ sink: 'warehouse', topic: 'shop.public.orders', state: h.state, table: '"public"."orders"', why: h.why, differs: h.differs, missing: h.missing, next: `${4_013_500 + ops.length - (h.behind ?? 0)}`, behind: h.behind ?? 0 }).slice(0, -1)}${h.row ? `,"row":${h.row}` : ''}}`
    : ''
  const scan = {
    scanned: '29191',
    matched: `${ops.length}`,
    bytes: '9000000',
    took_s: 0.041,
    total: '4013600',
    covered: '29191',
    window: [],
    stopped_because: o.stopped ?? 'end',
    next: {},
    limits: { records: '2000000', bytes: '1073741824', seconds: 8 },
  }
  const columns = [
    ['id', 'bigint'],
    ['status', 'text'],
    ['total', 'numeric(14,2)'],
  ].map(([name, type]) => ({ name, type, base: type }))
  return `{"v":1,"kind":"trace","items":[${items.join(',')}],"held":[${held}],"scans":[${JSON.stringify({ cluster: 'embedded', topic: 'shop.public.orders', scan })}],"columns":[${JSON.stringify({ cluster: 'embedded', topic: 'shop.public.orders', decimals: [{ column: 'total', scale: 2 }], columns })}]}`
}
