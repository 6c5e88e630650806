import type { Row } from './records'

/** When a change was committed where that is known, else the record's own time. */
export const timeOf = (r: Row): number => Date.parse(r.record.commit || r.record.time)

export interface Matches {
  from: number
  to: number
  counts: number[]
}

/** How many of the found records fall into each of so many equal parts of their time; null where they have none. */
export function matchesOver(rows: readonly Row[], parts: number): Matches | null {
  let [from, to] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  const times = new Float64Array(rows.length)
  for (const [i, r] of rows.entries()) {
    const t = timeOf(r)
    times[i] = t
    if (t < from) from = t
    if (t > to) to = t
  }
  if (!(to > from)) return null
  const counts = new Array<number>(parts).fill(0)
  for (const t of times) {
    const i = Math.min(parts - 1, Math.floor(((t - from) / (to - from)) * parts))
    counts[i] = (counts[i] ?? 0) + 1
  }
  return { from, to, counts }
}
