import type { Point } from '../api/types'
import { amount, best, clock, duration, known } from '../text/format'

/** A series as a chart draws it: seconds since 1970, and null where there is no reading. */
export interface Series {
  t: number[]
  value: (number | null)[]
  low: (number | null)[]
  high: (number | null)[]
  /** Stretches without readings, in seconds since 1970, with why where that is known. */
  gaps: { from: number; to: number; why: string }[]
  unit: string
  /** The usual time between two readings, in seconds; 0 where there are not two. */
  step: number
}

/** One of the series of a chart. */
export interface Line {
  /** What it is, as it stands beside its end and in the tip; '' where the chart has no other. */
  name: string
  series: Series
  /** The token of its colour. */
  ink?: 'series' | 'c1' | 'c2' | 'c3' | 'ink-3'
  /** Pixels drawn and left out, so that lines differ without their colour too. */
  dash?: number[]
}

/**
 * Points as a series over [from, to] in ms. An unknown reading, or a stretch of more than three usual steps without one,
 * is a gap: no line is drawn over it.
 */
export function series(points: readonly Point[], from: number, to: number): Series {
  const s: Series = {
    t: [],
    value: [],
    low: [],
    high: [],
    gaps: [],
    unit: points.find((p) => p.reading.unit)?.reading.unit ?? 's',
    step: 0,
  }
  const times = points.map((p) => Date.parse(p.at) / 1000)
  const steps = times.slice(1).map((t, i) => t - (times[i] ?? t))
  const usual = median(steps)
  s.step = usual
  const put = (t: number, value: number | null, low: number | null, high: number | null) => {
    s.t.push(t)
    s.value.push(value)
    s.low.push(low)
    s.high.push(high)
  }
  let gap: { from: number; why: string } | null = null
  let before: number | null = null
  const open = (at: number, why: string) => {
    gap ??= { from: at, why }
  }
  const close = (at: number) => {
    if (gap && at > gap.from) s.gaps.push({ ...gap, to: at })
    gap = null
  }
  points.forEach((p, i) => {
    const t = times[i] as number
    if (t * 1000 < from || t * 1000 > to) return
    if (before === null && t - from / 1000 > usual * 3 && usual > 0) open(from / 1000, '')
    if (before !== null && usual > 0 && t - before > usual * 3) {
      put(before + usual / 2, null, null, null)
      open(before, '')
    }
    if (known(p.reading)) {
      close(t)
      put(t, best(p.reading), p.reading.low ?? p.reading.value, p.reading.high ?? p.reading.value)
    } else {
      open(before ?? from / 1000, p.reading.why ?? '')
      put(t, null, null, null)
    }
    before = t
  })
  const end = to / 1000
  if (before !== null && usual > 0 && end - before > Math.max(usual * 3, 15)) open(before, '')
  close(end)
  return s
}

function median(steps: number[]): number {
  if (!steps.length) return 0
  const sorted = [...steps].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? 0
}

/** What a chart shows, in a sentence. */
export function sentence(name: string, s: Series, range: string): string {
  const have = s.value.flatMap((v, i) => (v === null ? [] : [{ v, t: s.t[i] ?? 0 }]))
  if (!have.length) return `${name}, ${range}: no readings`
  const peak = have.reduce((m, x) => (x.v > m.v ? x : m))
  const last = have[have.length - 1] as { v: number; t: number }
  const gaps = s.gaps
    .filter((g) => g.to - g.from >= 1)
    .map((g) => `${clock(g.from * 1000)} to ${clock(g.to * 1000)}${g.why ? ` (${g.why})` : ''}`)
  const missing = gaps.length > 3 ? `; ${gaps.length} stretches without readings` : gaps.length ? `; no readings ${gaps.join(', ')}` : ''
  return `${name}, ${range}: peak ${amount(peak.v, s.unit)} at ${clock(peak.t * 1000)}, last ${amount(last.v, s.unit)}${missing}`
}

/** The reading nearest to a moment in ms; null where none lies within two usual steps of it. */
export function nearest(s: Series, at: number): number | null {
  const t = at / 1000
  let [low, high] = [0, s.t.length]
  while (low < high) {
    const mid = (low + high) >> 1
    if ((s.t[mid] ?? 0) < t) low = mid + 1
    else high = mid
  }
  const distance = (i: number) => Math.abs((s.t[i] ?? Number.POSITIVE_INFINITY) - t)
  const i = low > 0 && distance(low - 1) <= distance(low) ? low - 1 : low
  return distance(i) <= Math.max(s.step * 2, 1) ? i : null
}

/** What a series says of a moment in ms: its reading with its bounds where they differ, or that there is none and why. */
export function told(s: Series, at: number): string {
  const i = nearest(s, at)
  const v = i === null ? null : s.value[i]
  if (i === null || v === null || v === undefined) {
    const why = s.gaps.find((g) => at / 1000 >= g.from && at / 1000 <= g.to)?.why
    return why ? `no reading: ${why}` : 'no reading'
  }
  const [low, high] = [s.low[i] ?? v, s.high[i] ?? v]
  const [a, b] = [amount(low, s.unit), amount(high, s.unit)]
  return high - low > Math.abs(v) * 0.01 && a !== b ? `${amount(v, s.unit)}, ${a} to ${b}` : amount(v, s.unit)
}

/** The greatest value that lines reach with their bounds, and at least least. */
export function peak(lines: readonly Line[], least: number): number {
  let most = least
  for (const { series: s } of lines)
    s.value.forEach((v, i) => {
      most = Math.max(most, v ?? 0, s.high[i] ?? 0)
    })
  return most
}

/** The readings of a series for a table, newest first. */
export function rows(s: Series): { t: number; value: number | null; low: number | null; high: number | null }[] {
  return s.t.map((t, i) => ({ t, value: s.value[i] ?? null, low: s.low[i] ?? null, high: s.high[i] ?? null })).reverse()
}

/** Round steps for a duration axis: seconds, minutes, hours. */
export const secondSteps = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200,
  86_400,
]

/** An axis mark, without digits that say nothing. */
export function mark(v: number, unit: string): string {
  if (v === 0) return '0'
  if (unit !== 's') return amount(v, unit).replace(/ rec(\/s)?$/, '')
  if (v < 1) return `${Math.round(v * 1000)} ms`
  if (v < 60) return `${Number(v.toFixed(1))} s`
  return duration(v)
}
