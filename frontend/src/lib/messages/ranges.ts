import type { Query } from '../api/client'
import { readPlace } from './records'

/** Offsets of one partition from first on and before end. */
export interface OffsetRange {
  partition: number
  from: bigint
  to: bigint
}

/** Records by their names, as ranges: neighbours are one. */
export function mergedRanges(ids: Iterable<string>): OffsetRange[] {
  const places = [...ids].flatMap((id) => {
    const p = readPlace(id)
    return p ? [{ partition: p.partition, offset: BigInt(p.offset) }] : []
  })
  places.sort((a, b) => a.partition - b.partition || (a.offset < b.offset ? -1 : a.offset > b.offset ? 1 : 0))
  const merged: OffsetRange[] = []
  for (const p of places) {
    const last = merged.at(-1)
    if (last?.partition === p.partition && p.offset <= last.to) last.to = p.offset < last.to ? last.to : p.offset + 1n
    else merged.push({ partition: p.partition, from: p.offset, to: p.offset + 1n })
  }
  return merged
}

/** As a replay takes them: 9:100-120, the end not included. */
export const rangeWord = (r: OffsetRange): string => `${r.partition}:${r.from}-${r.to}`

/** How long an expression may be that an export is asked with. */
const mostFilter = 10_000

/**
 * The query of an export of exactly these ranges; null where they are too scattered to be written into one. Each
 * partition is read from its first to its last, and what lies between is filtered away.
 */
export function exportOf(ranges: readonly OffsetRange[]): Query | null {
  const bounds = new Map<number, OffsetRange>()
  for (const r of ranges) {
    const b = bounds.get(r.partition)
    bounds.set(r.partition, b ? { ...b, to: r.to } : r)
  }
  const q: Query = {
    at: [...bounds.values()].map((b) => `${b.partition}:${b.from}`).join(','),
    before: [...bounds.values()].map((b) => `${b.partition}:${b.to}`).join(','),
  }
  if (bounds.size === ranges.length) return q
  q.filter = ranges
    .map((r) =>
      r.to - r.from === 1n
        ? `partition == ${r.partition} && offset == ${r.from}`
        : `partition == ${r.partition} && offset >= ${r.from} && offset < ${r.to}`,
    )
    .join(' || ')
  return q.filter.length <= mostFilter ? q : null
}
