import { describe, expect, test } from 'vitest'
import type { Point } from '../api/types'
import { mark, nearest, rows, sentence, series, told } from './series'

const t0 = Date.parse('2026-07-14T12:00:00Z')
const point = (s: number, value: number | null, why = ''): Point => ({
  at: new Date(t0 + s * 1000).toISOString(),
  reading:
    value === null
      ? { value: null, low: null, high: null, unit: 's', state: 'unknown', why, as_of: '' }
      : { value, low: value - 1, high: value + 1, unit: 's', state: 'bounded', as_of: '' },
})
const range = (a: number, b: number) => [t0 + a * 1000, t0 + b * 1000] as const

describe('a series', () => {
  test('keeps values and bounds', () => {
    const s = series([point(0, 5), point(10, 6), point(20, 7)], ...range(0, 20))
    expect(s.value).toEqual([5, 6, 7])
    expect(s.low).toEqual([4, 5, 6])
    expect(s.gaps).toEqual([])
  })
  test('a hole in time is a gap, with no line over it', () => {
    const s = series([point(0, 5), point(10, 6), point(20, 6), point(100, 7), point(110, 7)], ...range(0, 110))
    expect(s.value).toEqual([5, 6, 6, null, 7, 7])
    expect(s.gaps).toEqual([{ from: t0 / 1000 + 20, to: t0 / 1000 + 100, why: '' }])
  })
  test('an unknown reading is a gap and keeps its cause', () => {
    const s = series([point(0, 5), point(10, null, 'broker 2 restarting'), point(20, null), point(30, 6)], ...range(0, 30))
    expect(s.value).toEqual([5, null, null, 6])
    expect(s.gaps).toEqual([{ from: t0 / 1000, to: t0 / 1000 + 30, why: 'broker 2 restarting' }])
  })
  test('what is outside the range is left out, and readings that ended leave a gap', () => {
    const s = series([point(-10, 1), point(0, 5), point(10, 6)], ...range(0, 300))
    expect(s.value).toEqual([5, 6])
    expect(s.gaps[0]?.to).toBe(t0 / 1000 + 300)
  })
  test('no points', () => {
    expect(series([], ...range(0, 10)).t).toEqual([])
  })
  test('is said in a sentence', () => {
    const s = series([point(0, 5), point(10, 101), point(20, 42)], ...range(0, 20))
    expect(sentence('orders → warehouse', s, 'last hour')).toMatch(
      /^orders → warehouse, last hour: peak 1 min 41 s at .*:10, last 42\.0 s$/,
    )
    expect(sentence('x', series([], ...range(0, 1)), 'last hour')).toBe('x, last hour: no readings')
  })
  test('a table has all of it, newest first', () => {
    const s = series(
      Array.from({ length: 400 }, (_, i) => point(i * 10, i)),
      ...range(0, 4000),
    )
    const r = rows(s)
    expect(r).toHaveLength(400)
    expect(r[0]?.value).toBe(399)
  })
  test('tells of a moment: the nearest reading, or that there is none and why', () => {
    const s = series([point(0, 5), point(10, 6), point(20, null, 'broker 2 restarting'), point(60, 7), point(70, 7)], ...range(0, 70))
    expect(nearest(s, t0 + 14_000)).toBe(1)
    expect(told(s, t0 + 9000)).toBe('6.00 s, 5.00 s to 7.00 s')
    expect(told(s, t0 + 18_000)).toBe('no reading: broker 2 restarting')
    expect(told(s, t0 + 500_000)).toBe('no reading')
    expect(nearest(s, t0 + 500_000)).toBeNull()
  })
})

test('axis marks', () => {
  expect([0, 0.2, 15, 90, 3600].map((v) => mark(v, 's'))).toEqual(['0', '200 ms', '15 s', '1 min 30 s', '1 h'])
  expect(mark(15_000, 'records')).toBe('15,000')
})
