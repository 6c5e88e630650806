import type { MapEvent } from '../api/types'

// The strip below the map: events in rows under one time axis, with labels where there is room.

export interface StripEvent {
  event: MapEvent
  /** Pixels from the plot's left edge. */
  x: number
  /** Where its words stand, and how many pixels they may take; none where there is no room. */
  words: 'right' | 'left' | 'none'
  room: number
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

const dot = 14
const perChar = 6.1

/** Lays events out over [from, to] in ms on width pixels. */
export function strip(events: readonly MapEvent[], from: number, to: number, width: number): StripRow[] {
  return rows.map(({ word, kinds }) => {
    const those = events
      .filter((e) => kinds.includes(e.kind))
      .map((event) => ({ event, x: ((Date.parse(event.at) - from) / (to - from)) * width }))
      .filter((e) => e.x >= 0 && e.x <= width)
      .sort((a, b) => a.x - b.x)
    let free = 0
    const placed = those.map(({ event, x }, i): StripEvent => {
      const next = (those[i + 1]?.x ?? width + dot) - dot
      const need = Math.min(event.text.length * perChar + 6, 230)
      const right = next - (x + dot / 2)
      const left = x - dot / 2 - free
      free = Math.max(free, x + dot / 2)
      if (right >= Math.min(need, 60)) {
        const room = Math.min(need, right)
        free = x + dot / 2 + room
        return { event, x, words: 'right', room }
      }
      if (left >= Math.min(need, 60)) return { event, x, words: 'left', room: Math.min(need, left) }
      return { event, x, words: 'none', room: 0 }
    })
    return { word, events: placed }
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
