import { describe, expect, test } from 'vitest'
import type { Reading } from '../api/types'
import { Num, Obj } from '../json/json'
import { traceWords } from './answer'
import { copyTrace, keyColumns, keyWord, sinkHere, whereName } from './ask'
import { axisOf, heldAt, lanesOf, moments } from './bands'
import { cellText, changedFields, fieldRows, heldThen } from './fields'
import { arrivalOf, hopRows, scaleTo, verdictOf } from './hops'
import { inLog, readTrace, type Trace, type Version } from './trace'

const t0 = Date.parse('2026-11-24T14:00:00.000Z')
const iso = (s: number) => new Date(t0 + s * 1000).toISOString()
const seconds = (v: number, low = v, high = v): Reading => ({ value: v, low, high, unit: 's', state: 'bounded', as_of: iso(100) })
const unknown = (why: string): Reading => ({ value: null, low: null, high: null, unit: 's', state: 'unknown', why, as_of: iso(100) })

/** An answer as the server writes it: its rows are texts, so that no digit is JavaScript's. */
function answer(o: { ops?: string[]; waits?: boolean; held?: string; rows?: string[] }): Trace {
  const ops = o.ops ?? ['c', 'u', 'u']
  const rows = o.rows ?? [
    '{"id":9007199254740993,"status":"placed","total":"QWA="}',
    '{"id":9007199254740993,"status":"paid","total":"QWA="}',
    '{"id":9007199254740993,"status":"shipped","total":"QWA=","note":null}',
  ]
  const items = ops.map((op, i) => {
    const last = i === ops.length - 1
    const hops = [
      { to: 'captured', state: 'arrived', delay: seconds(0.1) },
      { to: 'topic', state: 'arrived', delay: seconds(0.2) },
      { to: 'group:billing', state: 'arrived', delay: seconds(0.5) },
      { to: 'sink:warehouse', state: o.waits && last ? 'waiting' : 'arrived', delay: seconds(o.waits && last ? 80 : 1) },
    ]
    const v = {
      op,
      position: 'pg/1/s@1A.0',
      commit: iso(i * 10),
      time: iso(i * 10),
      tx: `${i}`,
      key: '{"id":9007199254740993}',
      cluster: 'embedded',
      topic: 'shop.public.orders',
      partition: 0,
      offset: `${9_000_000_000 + i}`,
      hops,
    }
    const text = JSON.stringify(v).slice(0, -1)
    return `${text},"after":${op === 'd' ? 'null' : rows[i]}}`
  })
  const scan = {
    scanned: '12',
    matched: '3',
    bytes: '1',
    took_s: 0.01,
    total: '12',
    covered: '12',
    window: [],
    stopped_because: 'end',
    next: {},
    limits: { records: '1', bytes: '1', seconds: 1 },
  }
  return readTrace(
    `{"v":1,"kind":"trace","items":[${items.join(',')}],"held":[${o.held ?? ''}],"scans":[${JSON.stringify({ cluster: 'embedded', topic: 'shop.public.orders', scan })}],"columns":[{"cluster":"embedded","topic":"shop.public.orders","decimals":[{"column":"total","scale":2}],"columns":[{"name":"total","type":"numeric(14,2)","base":"numeric(14,2)"}]}]}`,
  )
}
const held = (more: object) =>
  JSON.stringify({
    sink: 'warehouse',
    topic: 'shop.public.orders',
    state: 'held',
    table: '"public"."orders"',
    row: { status: 'paid' },
    ...more,
  })
const words = (t: Trace) => traceWords('orders 17', t, hopRows(t.versions.at(-1) as Version, [], t0 + 100_000))

test('a place is named by its table, else by its topic; what an address leaves out is an empty text', () => {
  expect(whereName({ table: 'public.orders', topic: '', cluster: '' })).toBe('public.orders')
  expect(whereName({ table: '', topic: 'shop.public.orders', cluster: '' })).toBe('shop.public.orders')
  expect(whereName({ table: '', topic: '', cluster: '' })).toBe('')
})

describe('an answer', () => {
  test('keeps every digit of its rows', () => {
    const t = answer({})
    const row = t.versions[2]?.after
    expect(row instanceof Obj && row.get('id')).toEqual(new Num('9007199254740993'))
    expect(t.versions.map((v) => v.n)).toEqual([1, 2, 3])
    expect(t.versions[2]?.at).toBe('0:9000000002')
  })
  test('of another log has no versions here', () => {
    expect(inLog(answer({}), { cluster: 'x', topic: 'shop.public.orders' }).versions).toEqual([])
  })
})

describe('the answer in a sentence', () => {
  test('reached, within the longest', () =>
    expect(words(answer({ held: held({ next: '9000000003', behind: 0 }) }))).toMatchObject({
      state: 'on_time',
      first: 'orders 17 reached billing and warehouse within 1.00 s.',
    }))
  test('what waits is said', () =>
    expect(words(answer({ waits: true }))).toMatchObject({
      state: 'at_risk',
      first: 'orders 17 reached billing within 500 ms; warehouse has not got it yet.',
    }))
  test('which version a sink still holds', () =>
    expect(words(answer({ waits: true, held: held({ next: '9000000002', behind: 1, differs: ['status'] }) }))).toMatchObject({
      state: 'late',
      first: 'orders 17 reached billing within 500 ms; warehouse still holds version 2 of 3.',
    }))
  test('a sink that applied it and holds other values', () =>
    expect(words(answer({ held: held({ next: '9000000003', behind: 0, differs: ['status', 'note'] }) })).first).toContain(
      'warehouse holds another status, note',
    ))
  test('a row that should be gone', () =>
    expect(words(answer({ ops: ['c', 'd'], held: held({ next: '9000000002', behind: 0 }) }))).toMatchObject({
      state: 'late',
      first: 'The deletion of orders 17 reached billing within 500 ms; warehouse still holds it.',
    }))
  test('a row that is gone, as it should', () =>
    expect(words(answer({ ops: ['c', 'd'], held: held({ state: 'absent', row: undefined, behind: 0 }) })).state).toBe('on_time'))
  test('nothing found in a part is not nothing', () => {
    const t = answer({ ops: [] })
    expect(traceWords('x', t, []).rest).toContain('all that the log holds')
    const cut = { ...t, scans: t.scans.map((s) => ({ ...s, scan: { ...s.scan, stopped_because: 'time' } })) }
    expect(traceWords('x', cut, [])).toMatchObject({ state: 'unknown', rest: 'in what was looked at, which is not all.' })
  })
})

describe('hops', () => {
  test('what waits goes on waiting since it was read', () => expect(arrivalOf('waiting', seconds(80), t0 + 105_000).seconds).toBe(85))
  test('wide bounds are bounds, and unknown is not zero', () => {
    expect(arrivalOf('arrived', seconds(300, 0, 600), t0).loose).toBe(true)
    expect(arrivalOf('unknown', unknown('no commit'), t0)).toMatchObject({ state: 'unknown', seconds: null, why: 'no commit' })
  })
  test('each takes what it adds to what it waited for', () => {
    const rows = hopRows(answer({}).versions[0] as Version, [], t0)
    expect(rows.map((r) => [r.id, r.took])).toEqual([
      ['commit', ''],
      ['captured', '100 ms'],
      ['topic', '100 ms'],
      ['group:billing', '300 ms'],
      ['sink:warehouse', '800 ms'],
    ])
  })
  test('the scale begins at 0, ends at 1 and never goes back', () => {
    const s = scaleTo(900)
    const all = [0, 0.005, 0.01, 0.1, 1, 60, 900].map(s.at)
    expect(all[0]).toBe(0)
    expect(all.every((x, i) => i === 0 || x > (all[i - 1] ?? 0))).toBe(true)
    expect(s.at(1e9)).toBe(1)
  })
  test('a sink that cannot be asked is unknown, and says why', () => {
    const t = answer({ held: JSON.stringify({ sink: 'hook', topic: 'shop.public.orders', state: 'unknown', why: 'it keeps no rows' }) })
    expect(verdictOf(t.held[0] as never, t.versions)).toMatchObject({ state: 'unknown', words: 'unknown: it keeps no rows', wrong: false })
  })
})

describe('who held which version', () => {
  const lanes = (t: Trace, now = t0 + 100_000) => lanesOf(t.versions, now)
  test('one lane a place, one band a version, to now', () => {
    const all = lanes(answer({}))
    expect(all.map((l) => l.id)).toEqual(['commit', 'topic', 'group:billing', 'sink:warehouse'])
    expect(all[3]?.bands.map((b) => [b.version.n, b.from - t0, b.to - t0])).toEqual([
      [1, 1000, 11_000],
      [2, 11_000, 21_000],
      [3, 21_000, 100_000],
    ])
  })
  test('what is behind is stale; a deletion is no row', () => {
    expect(lanes(answer({ waits: true }))[3]?.bands.at(-1)).toMatchObject({ state: 'stale', version: { n: 2 } })
    expect(lanes(answer({ ops: ['c', 'd'] }))[0]?.bands.at(-1)?.state).toBe('gone')
  })
  test('as of a moment', () => {
    const [commit] = lanes(answer({}))
    expect(heldAt(commit as never, t0 - 1)).toBeNull()
    expect(heldAt(commit as never, t0 + 15_000)?.version.n).toBe(2)
    expect(moments(lanes(answer({})), t0 + 100_000).at(-1)).toBe(t0 + 100_000)
  })
  test('the axis shortens a long time, says where, and goes both ways', () => {
    const a = axisOf([t0, t0 + 1000, t0 + 2000], t0 + 86_400_000)
    expect(a.breaks).toHaveLength(1)
    expect(a.at(t0 + 2000)).toBeGreaterThan(0.2)
    for (const ms of [t0, t0 + 1500, t0 + 43_000_000, t0 + 86_400_000]) expect(Math.abs(a.ms(a.at(ms)) - ms)).toBeLessThan(1)
  })
  test('one moment alone is no division by zero', () => expect(axisOf([t0], t0).at(t0)).toBeGreaterThanOrEqual(0))
})

describe('fields', () => {
  const t = answer({ held: held({ differs: ['status'], missing: ['note'] }) })
  test('what changed comes first', () => {
    const rows = fieldRows(t.versions, undefined, t.held, t.columns[0])
    expect(rows.map((r) => [r.name, r.versions.map((c) => c.how)])).toEqual([
      ['status', ['first', 'changed', 'changed']],
      ['note', ['none', 'none', 'added']],
      ['id', ['first', 'same', 'same']],
      ['total', ['first', 'same', 'same']],
    ])
    expect(rows[0]?.held[0]?.how).toBe('differs')
    expect(rows[1]?.held[0]?.how).toBe('no_column')
    expect(cellText(rows[3]?.versions[0]?.value as never)).toBe('167.36')
  })
  test('a large value that was not sent did not change', () => {
    const toast = answer({ ops: ['c', 'u'], rows: ['{"id":1,"big":"x"}', '{"id":1,"big":"__debezium_unavailable_value"}'] })
    expect(fieldRows(toast.versions, undefined, [])[1]?.versions.map((c) => c.how)).toEqual(['first', 'unsent'])
    expect(changedFields(toast.versions[0], toast.versions[1] as Version)).toEqual([])
  })
  test('a text that could be taken for something else has its quotes', () => {
    expect(['plain', 'null', '17', '', ' x'].map((s) => cellText(s))).toEqual(['plain', '"null"', '"17"', '""', '" x"'])
    expect(cellText(null)).toBe('null')
  })
  test('what a sink held then differs from what was committed by then', () => {
    const then = heldThen(t.held[0] as never, t.versions[0], t.versions[1])
    expect(then).toMatchObject({ state: 'held', differs: ['status'] })
    expect(heldThen(t.held[0] as never, undefined, t.versions[1]).state).toBe('absent')
  })
})

describe('asking', () => {
  test('a key as a person says it', () => {
    expect(keyWord('{"id":9007199254740993}')).toBe('9007199254740993')
    expect(keyWord(`{"sku":"it's"}`)).toBe("it's")
    expect(keyWord('{"a":1,"b":2}')).toBe('{"a":1,"b":2}')
    expect(keyWord('raw')).toBe('raw')
    expect(keyColumns('{"schema":{},"payload":{"id":1}}')).toEqual([['id', '1']])
  })
  test('lines for a terminal keep hostile keys inside one word', () => {
    const t = answer({ held: held({ table: '"wh"."Orders"' }) })
    const key = `{"sku":"'; DROP TABLE x; --"}`
    const lines = copyTrace({ table: 'public.orders', key }, undefined, { ...(t.versions[0] as Version), key }, t.held, {
      origin: 'http://h',
      broker: '',
    })
    expect(lines.find((l) => l.as === 'SQL')?.text).toBe(`SELECT * FROM public.orders WHERE sku = '''; DROP TABLE x; --';`)
    expect(lines.find((l) => l.as === 'SQL, warehouse')?.text).toContain('FROM wh."Orders"')
    expect(lines[0]?.text).toBe(`freshet trace public.orders '{"sku":"'\\''; DROP TABLE x; --"}'`)
    expect(sinkHere('#/replay/new?key=1', 'a&b')).toBe('#/replay/new?key=1&to=a%26b')
  })
})
