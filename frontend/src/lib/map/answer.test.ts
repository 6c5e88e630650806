import { describe, expect, test } from 'vitest'
import type { MapData, MapNode, MapPath, Reading, State } from '../api/types'
import { answer, sorted, steady } from './answer'
import { pathKey } from './graph'

const now = Date.parse('2026-07-14T12:21:38Z')
const sec = (value: number): Reading => ({
  value,
  low: value - 0.5,
  high: value + 0.5,
  unit: 's',
  state: 'bounded',
  as_of: '2026-07-14T12:21:38.000Z',
})
const unknown = (why: string): Reading => ({
  value: null,
  low: null,
  high: null,
  unit: 's',
  state: 'unknown',
  why,
  as_of: '2026-07-14T12:21:38.000Z',
})

const path = (name: string, to: string, state: State, seconds: number | null, more: Partial<MapPath> = {}): MapPath => ({
  path: `${name} → ${to.slice(to.indexOf(':') + 1)}`,
  source: 'shop',
  cluster: 'embedded',
  table: `public.${name}`,
  topic: `shop.public.${name}`,
  to,
  state,
  objective_s: 15,
  hops: [
    { from: 'source:shop', to: `topic:shop.public.${name}`, seconds: sec(0.3) },
    { from: `topic:shop.public.${name}`, to, seconds: seconds === null ? unknown('no commit') : sec(seconds - 0.3) },
  ],
  total: seconds === null ? unknown('no commit in this group yet') : sec(seconds),
  trend: 'steady',
  ...more,
})

const node = (lane: MapNode['lane'], ref: string, state: State = 'on_time', why = ''): MapNode => ({
  id: `${lane}:${ref}`,
  lane,
  name: lane === 'source' ? `PostgreSQL ${ref}` : ref,
  ref,
  state,
  why,
  trend: 'steady',
})

const map = (paths: MapPath[], nodes: MapNode[] = [node('source', 'shop')]): MapData => ({
  v: 1,
  kind: 'map',
  as_of: '2026-07-14T12:21:38.000Z',
  profile: { name: 'demo', kind: 'local' },
  nodes,
  edges: [],
  paths,
  events: [],
})

const says = (m: MapData) => {
  const a = answer(m, now)
  return `${a.first} ${a.rest}`.trim()
}

describe('the answer', () => {
  test('one late path, catching up, and the rest', () => {
    const late = path('orders', 'sink:warehouse', 'late', 42, {
      trend: 'falling',
      eta: sec(190),
      since: '2026-07-14T12:03:07.000Z',
      worst: sec(101.2),
    })
    const m = map([path('customers', 'sink:warehouse', 'on_time', 1), late], [node('source', 'shop'), node('group', 'fraud', 'unknown')])
    expect(says(m)).toBe('orders → warehouse is 42 s behind, and catching up: about 3 min to go. The rest is on time, 1 group unknown.')
    const a = answer(m, now)
    expect(a.state).toBe('late')
    expect(a.path).toBe(late)
    expect(a.details[0]?.text).toMatch(/^Late since .*:07 \(18 min 31 s\), worst 1 min 41 s$/)
    expect(a.details[1]?.text).toBe('Waiting for warehouse is 41.7 s of the 42.0 s')
  })

  test('falling behind without an end in sight', () => {
    expect(says(map([path('orders', 'sink:warehouse', 'late', 42, { trend: 'rising' })]))).toBe(
      'orders → warehouse is 42 s behind, and falling further behind.',
    )
  })

  test('several into one sink are named together', () => {
    expect(
      says(
        map([
          path('orders', 'sink:warehouse', 'late', 312),
          path('payments', 'sink:warehouse', 'late', 290),
          path('orders', 'group:billing', 'on_time', 1),
        ]),
      ),
    ).toBe('2 paths into warehouse are late, most of all orders → warehouse: 5 min behind. The rest is on time.')
  })

  test('an open bound is said as one', () => {
    const open: Reading = { ...sec(0), value: null, low: 30, high: null }
    expect(says(map([path('orders', 'sink:w', 'late', 30, { total: open })]))).toBe('orders → w is at least 30 s behind.')
  })

  test('what does not answer comes before what is late because of it', () => {
    const a = answer(
      map(
        [path('orders', 'sink:warehouse', 'late', 312)],
        [node('source', 'shop'), node('sink', 'warehouse', 'dead', 'connection refused')],
      ),
      now,
    )
    expect(a.first).toBe('warehouse does not answer.')
    expect(a.details.map((d) => d.text)).toEqual(['1 path depends on it', 'orders → warehouse is 5 min behind', 'connection refused'])
  })

  test('a group that nobody reads as comes after what is late', () => {
    const deserted = node('group', 'billing', 'dead', 'empty: 6,020 records wait')
    expect(says(map([path('orders', 'sink:w', 'late', 42)], [deserted]))).toContain('orders → w is 42 s behind')
    expect(says(map([path('orders', 'sink:w', 'on_time', 1)], [deserted]))).toBe('Nobody reads as billing. The rest is on time.')
  })

  test('at risk', () => {
    expect(says(map([path('orders', 'sink:w', 'at_risk', 12, { trend: 'rising' })]))).toBe(
      'orders → w is at risk: 12 s of its 15 s, and falling further behind.',
    )
  })

  test('paused says who and why', () => {
    expect(
      says(map([path('orders', 'sink:w', 'paused', 40), path('a', 'group:g', 'on_time', 1)], [node('sink', 'w', 'paused', 'migration')])),
    ).toBe('w is paused: migration. The rest is on time.')
  })

  test('all well', () => {
    expect(says(map([path('orders', 'sink:w', 'on_time', 0.9), path('a', 'sink:w', 'idle', 0.2)]))).toBe('Everything is on time.')
    expect(answer(map([path('orders', 'sink:w', 'on_time', 0.9)]), now).details[0]?.text).toBe('Slowest of 1 path: orders → w, 0.9 s')
  })

  test('some unknown is not all well', () => {
    expect(says(map([path('orders', 'sink:w', 'on_time', 0.9), path('a', 'group:g', 'unknown', null)]))).toBe(
      'What is measured is on time. 1 path unknown.',
    )
  })

  test('all unknown is never on time', () => {
    const a = answer(map([path('orders', 'sink:w', 'unknown', null)]), now)
    expect(a.state).toBe('unknown')
    expect(a.first).toBe('How fresh the data is, is unknown: no commit in this group yet.')
  })

  test('no paths', () => {
    expect(says(map([]))).toContain('Nothing has been delivered yet')
    expect(says(map([], [node('group', 'g')]))).toContain('no source is captured here')
  })

  test('names are written out, not obeyed', () => {
    expect(says(map([path('a\u202eb', 'sink:w', 'late', 42)]))).toContain('a⟨U+202E⟩b → w')
  })

  test('paths are sorted by state, then by delay', () => {
    const list = [
      path('a', 'sink:w', 'on_time', 1),
      path('b', 'sink:w', 'late', 20),
      path('c', 'sink:w', 'late', 40),
      path('d', 'sink:w', 'unknown', null),
    ]
    expect(sorted(list).map((p) => p.table)).toEqual(['public.c', 'public.b', 'public.d', 'public.a'])
  })

  test('what is well keeps its place while readings change', () => {
    const list = (x: number) => [path('b', 'sink:w', 'on_time', 1 + x), path('a', 'sink:w', 'on_time', 1)]
    expect(sorted(list(0)).map((p) => p.table)).toEqual(sorted(list(5)).map((p) => p.table))
  })

  test('a chart keeps its subject while it is about as bad as the worst', () => {
    const at = (state: State, a: number, b: number) => sorted([path('a', 'sink:w', state, a), path('b', 'sink:w', state, b)])
    const first = steady(at('on_time', 1, 2), '')
    expect(first?.table).toBe('public.b')
    const key = pathKey(first as MapPath)
    expect(steady(at('on_time', 9, 2), key)?.table).toBe('public.b')
    expect(steady(at('late', 43, 42), key)?.table).toBe('public.b')
    expect(steady(at('late', 430, 42), key)?.table).toBe('public.a')
    expect(steady(sorted([path('a', 'sink:w', 'late', 20), path('b', 'sink:w', 'on_time', 2)]), key)?.table).toBe('public.a')
    expect(steady([], key)).toBeNull()
  })

  test('a late group that no path ends in is not passed over', () => {
    const mailer = { ...node('group', 'mailer', 'late', '67 records wait'), delay: sec(21.6), trend: 'rising' as const }
    expect(says(map([path('orders', 'sink:w', 'on_time', 1)], [mailer]))).toBe(
      'mailer is 22 s behind, and falling further behind. The rest is on time.',
    )
    expect(says(map([path('orders', 'sink:w', 'late', 42), path('a', 'sink:w', 'on_time', 1)], [mailer]))).toBe(
      'orders → w is 42 s behind. Of the rest, 1 group late and 1 on time.',
    )
  })

  test('paths into a group that nobody reads as are not on time', () => {
    const deserted = node('group', 'fulfilment', 'dead', 'Stopped: 0 members')
    const m = map(
      [
        path('a', 'group:fulfilment', 'dead', 38),
        path('b', 'group:fulfilment', 'dead', 30),
        path('orders', 'sink:w', 'late', 20),
        path('c', 'sink:w', 'on_time', 1),
      ],
      [deserted],
    )
    expect(says(m)).toBe('Nobody reads as fulfilment. Of the rest, 1 late and 1 on time.')
    expect(answer(m, now).details.map((d) => d.text)).toEqual([
      '2 paths depend on it',
      'a → fulfilment is 38 s behind',
      'Stopped: 0 members',
    ])
  })
})
