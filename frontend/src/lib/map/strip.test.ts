import { describe, expect, test } from 'vitest'
import type { MapEvent } from '../api/types'
import { strip, ticks } from './strip'

const t0 = Date.parse('2026-07-14T12:00:00Z')
const event = (min: number, text: string, kind: MapEvent['kind'] = 'fault'): MapEvent => ({
  at: new Date(t0 + min * 60_000).toISOString(),
  kind,
  text,
})

describe('the strip', () => {
  test('words never run into the next mark or other words', () => {
    const events = [1, 2, 20, 21, 22, 40, 58, 59.5].map((m) => event(m, `something of some length at ${m}`))
    const [row] = strip(events, t0, t0 + 3_600_000, 800)
    const spans = (row?.events ?? []).map(
      (e) =>
        (e.words === 'right' ? [e.x + 4, e.x + 7 + e.room] : e.words === 'left' ? [e.x - 7 - e.room, e.x - 4] : [e.x - 4, e.x + 4]) as [
          number,
          number,
        ],
    )
    const dots = (row?.events ?? []).map((e) => e.x)
    for (const [i, a] of spans.entries()) {
      for (const [k, b] of spans.entries()) if (i < k) expect(a[1] <= b[0] || b[1] <= a[0], `${i} ${k}`).toBe(true)
      for (const [k, x] of dots.entries()) if (k !== i) expect(x <= a[0] || x >= a[1]).toBe(true)
    }
    expect(row?.events.some((e) => e.words === 'none')).toBe(true)
  })
  test('kinds have their rows; what is outside the range is left out', () => {
    const rows = strip([event(1, 'a'), event(2, 'b', 'audit'), event(-5, 'c'), event(3, 'd', 'config')], t0, t0 + 3_600_000, 800)
    expect(rows.map((r) => r.events.map((e) => e.event.text))).toEqual([['a'], ['d'], ['b']])
  })
  test('ticks are round and few', () => {
    for (const minutes of [15, 60, 360, 1440]) {
      const list = ticks(t0 + 123_456, t0 + 123_456 + minutes * 60_000, 8)
      expect(list.length).toBeGreaterThan(2)
      expect(list.length).toBeLessThanOrEqual(9)
      for (const t of list) expect(t % 60_000).toBe(0)
    }
  })
})
