import type { HistoryGrid } from '../api/types'
import { amount } from '../text/format'

/** One partition over time: the greatest age in each slice, null where nothing was read. */
export interface HeatRow {
  topic: string
  partition: number
  cells: (number | null)[]
  /** Why there is no reading at all, or none lately. */
  why: string
}

/** Lag by partition and slice of time. */
export interface Heat {
  /** In ms; slices are half-open. */
  from: number
  step: number
  slices: number
  rows: HeatRow[]
}

export function heatOf(g: HistoryGrid): Heat {
  const from = Date.parse(g.columns[0] ?? '')
  const slices = g.columns.length
  return {
    from,
    step: slices ? (Date.parse(g.until) - from) / slices : 1,
    slices,
    rows: g.rows.map((r) => ({ topic: r.topic, partition: r.partition, cells: r.values, why: r.why ?? '' })),
  }
}

/** The ages, in seconds, from which on the darker steps begin: three below the objective, and four from it on. */
export function steps(objective: number | null): number[] {
  return objective ? [0.13, 0.5, 1, 2, 4, 6].map((f) => f * objective) : [1, 5, 15, 30, 60, 300]
}

/** The step, 0 to 6, that an age is drawn in. */
export function stepOf(seconds: number, at: readonly number[]): number {
  const i = at.findIndex((s) => seconds < s)
  return i < 0 ? at.length : i
}

/** A cell in words: "partition 9, 14:06:00 to 14:07:00: 45.0 s, over the objective". */
export function cellWords(v: number | null, objective: number | null, why = ''): string {
  if (v === null) return why ? `no reading: ${why}` : 'no reading'
  return `${amount(v, 's')}${objective ? (v > objective ? ', over the objective' : ', inside the objective') : ''}`
}
