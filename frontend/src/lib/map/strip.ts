import type { MapEvent } from '../api/types'
import { type Placed, place } from '../chart/place'

// The strip below the map: events in rows under one time axis, with labels where there is room.

export interface StripEvent extends Placed {
  event: MapEvent
  /** Pixels from the plot's left edge. */
  x: number
}

export interface StripRow {
  word: string
  events: StripEvent[]
}

export const rows: readonly { word: string; kinds: readonly MapEvent['kind'][] }[] = [
  { word: 'Faults, states', kinds: ['fault', 'state'] },
  { word: 'Jobs, config', kinds: ['job', 'config'] },
  { word: 'Acts of people', kinds: ['audit'] },
]

/** Lays events out over [from, to] in ms on width pixels. */
export function strip(events: readonly MapEvent[], from: number, to: number, width: number): StripRow[] {
  return rows.map(({ word, kinds }) => {
    const those = events
      .filter((e) => kinds.includes(e.kind))
      .map((event) => ({ event, x: ((Date.parse(event.at) - from) / (to - from)) * width }))
      .filter((e) => e.x >= 0 && e.x <= width)
      .sort((a, b) => a.x - b.x)
    const placed = place(
      those.map(({ event, x }) => ({ x, text: event.text })),
      width,
    )
    return { word, events: those.map((e, i): StripEvent => ({ ...e, ...(placed[i] ?? { words: 'none', room: 0 }) })) }
  })
}

/** Round moments of local time in [from, to], at most n. */
export function ticks(from: number, to: number, n: number): number[] {
  const steps = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200].map((s) => s * 1000)
  const step = steps.find((s) => (to - from) / s <= n) ?? 86_400_000
  const offset = new Date(from).getTimezoneOffset() * 60_000
  const first = Math.ceil((from - offset) / step) * step + offset
  const out: number[] = []
  for (let t = first; t <= to; t += step) out.push(t)
  return out
}
