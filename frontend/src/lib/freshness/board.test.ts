import { describe, expect, test } from 'vitest'
import type { MapPath, Point, Reading } from '../api/types'
import { answerOf, arranged, hopSeries, isKind, longestHop, percent, share, strip, stripWords } from './board'

const t0 = Date.parse('2026-07-14T12:00:00Z')
const reading = (value: number | null, low = value, high = value): Reading =>
  value === null
    ? { value: null, low: null, high: null, unit: 's', state: 'unknown', why: 'not read', as_of: '' }
    : { value, low, high, unit: 's', state: 'bounded', as_of: '' }
const point = (s: number, value: number | null, low = value, high = value): Point => ({
  at: new Date(t0 + s * 1000).toISOString(),
  reading: reading(value, low, high),
})
const path = (name: string, more: Partial<MapPath> = {}): MapPath => ({
  path: name,
  source: 'shop',
  cluster: 'embedded',
  table: 'public.orders',
  topic: 'shop.public.orders',
  to: 'sink:warehouse',
  state: 'on_time',
  objective_s: 15,
  hops: [
    { from: 'source:shop', to: 'captured', seconds: reading(0.3) },
    { from: 'captured', to: 'topic:shop.public.orders', seconds: reading(0.1) },
    { from: 'topic:shop.public.orders', to: 'sink:warehouse', seconds: reading(0.6) },
  ],
  total: reading(1),
  trend: 'steady',
  ...more,
})
const late = path('orders → warehouse', {
  state: 'late',
  total: reading(42),
  since: new Date(t0 - 60_000).toISOString(),
  hops: [{ from: 'topic:shop.public.orders', to: 'sink:warehouse', seconds: reading(38.6) }],
  trend: 'falling',
  eta: { ...reading(190), state: 'estimate' },
})

describe('which objective is missed', () => {
  test('by how much, since when and by which hop', () => {
    const a = answerOf([path('a'), late, path('b', { state: 'unknown', total: reading(null) }), path('c', { objective_s: null })], t0)
    expect(a.first).toBe('1 of 3 objectives is missed: orders → warehouse, 42 s against 15 s.')
    expect(a.rest).toBe('1 is met, 1 is unknown.')
    expect(a.details[0]).toMatch(/^Since .*, for 1 min$/)
    expect(a.details[1]).toBe('Waiting for warehouse spends 38.6 s of the 42.0 s')
    expect(a.details).toContain('catching up: about 3 min to go')
    expect(a.details).toContain('1 path without an objective')
  })
  test('none, or one that is close', () => {
    expect(answerOf([path('a'), path('b')], t0)).toMatchObject({ state: 'on_time', first: 'All 2 objectives are met.' })
    const a = answerOf([path('a'), path('b', { state: 'at_risk', total: reading(13) })], t0)
    expect(a).toMatchObject({ state: 'at_risk', first: 'All 2 objectives are met, but b is at risk: 13 s against 15 s.' })
  })
  test('nothing known is not met', () => {
    expect(answerOf([path('a', { state: 'unknown', total: reading(null) })], t0)).toMatchObject({
      state: 'unknown',
      first: 'Whether the objective is met is unknown.',
      details: ['not read'],
    })
    expect(answerOf([], t0).first).toMatch(/^No path from a table/)
  })
})

test('kinds, orders and hops', () => {
  const all = [path('a'), late, path('b', { state: 'at_risk', total: reading(13) })]
  expect(all.filter((p) => isKind(p, 'missed'))).toEqual([late])
  expect(arranged(all, 'need', true).map((p) => p.path)).toEqual(['orders → warehouse', 'b', 'a'])
  expect(arranged(all, 'path', false).map((p) => p.path)).toEqual(['a', 'b', 'orders → warehouse'])
  expect(longestHop(path('a'))?.to).toBe('sink:warehouse')
  expect(longestHop(path('a', { hops: [{ from: 'x', to: 'y', seconds: reading(null) }] }))).toBeNull()
  expect(path('a').hops.map(hopSeries)).toEqual(['commit-captured', 'captured-topic', 'topic-sink'])
})

describe('over a range', () => {
  const points = [point(0, 1), point(10, 14), point(20, 40, 39, 41), point(30, 1), point(40, null), point(80, 1)]
  test('a strip has the worst of each slice, and what was not read is no state', () => {
    expect(strip(points, t0, t0 + 100_000, 10, 15).map((s) => [s.state, (s.to - s.from) / 1000])).toEqual([
      ['on_time', 10],
      ['at_risk', 10],
      ['late', 10],
      ['on_time', 10],
      ['unknown', 40],
      ['on_time', 10],
      ['unknown', 10],
    ])
    expect(stripWords('a', strip(points, t0, t0 + 100_000, 10, 15), 'last hour')).toBe(
      'a, last hour: 10 % late, 10 % at risk, 30 % on time, 50 % not read',
    )
  })
  test('the share inside is of what was read', () => {
    const s = share(points, t0, t0 + 100_000, 15)
    expect(s.readings).toBe(5)
    expect(s.read).toBeCloseTo(0.6)
    expect(s.inside).toBeCloseTo(50 / 60)
    expect(s.worst).toEqual({ seconds: 40, at: t0 + 20_000 })
    expect(share([], t0, t0 + 1000, 15)).toEqual({ inside: null, read: 0, readings: 0, worst: null })
    expect(share(points, t0, t0 + 100_000, null).inside).toBeNull()
  })
  test('a share is never rounded up to all', () => {
    expect([1, 0.9999, 0.5, 0.053].map(percent)).toEqual(['100 %', '99.9 %', '50 %', '5.3 %'])
  })
})
