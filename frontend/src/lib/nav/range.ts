import { clock, duration } from '../text/format'
import { pick } from './route'

/** The time that a page is about: the last so long, or a range that does not move. */
export interface TimeRange {
  /** As it stands in the hash: `6h`, or FROM..TO. */
  id: string
  fixed: boolean
  /** In ms; of one that is not fixed, from is to − length and to is now. */
  from: number
  to: number
  /** "Last hour", "14:02:10 to 14:06:50". */
  word: string
}

export type Last = '5m' | '15m' | '1h' | '6h' | '24h' | '7d'

export const lasts: Record<Last, { ms: number; word: string; long: string }> = {
  '5m': { ms: 300_000, word: '5 min', long: 'Last 5 min' },
  '15m': { ms: 900_000, word: '15 min', long: 'Last 15 min' },
  '1h': { ms: 3_600_000, word: '1 h', long: 'Last hour' },
  '6h': { ms: 21_600_000, word: '6 h', long: 'Last 6 h' },
  '24h': { ms: 86_400_000, word: '24 h', long: 'Last 24 h' },
  '7d': { ms: 604_800_000, word: '7 d', long: 'Last 7 d' },
}

export const usual: Last = '1h'

export function readRange(id: string, now: number): TimeRange {
  const [a = '', b = ''] = id.split('..')
  const [from, to] = [Date.parse(a), Date.parse(b)]
  if (from < to) return { id, fixed: true, from, to, word: `${clock(from, now)} to ${clock(to, now)}` }
  const last = pick(id, lasts, usual)
  return { id: last, fixed: false, from: now - lasts[last].ms, to: now, word: lasts[last].long }
}

/** The id of a range that does not move, to the millisecond. */
export function fixedRange(from: number, to: number): string {
  return `${new Date(from).toISOString()}..${new Date(to).toISOString()}`
}

/** One step shorter or longer; a fixed range is halved or doubled around its middle. */
export function stepped(r: TimeRange, by: 1 | -1, now: number): string {
  if (r.fixed) {
    const [middle, half] = [(r.from + r.to) / 2, ((r.to - r.from) / 2) * (by > 0 ? 2 : 0.5)]
    return fixedRange(Math.round(middle - half), Math.min(now, Math.round(middle + half)))
  }
  const ids = Object.keys(lasts) as Last[]
  return ids[Math.min(ids.length - 1, Math.max(0, ids.indexOf(r.id as Last) + by))] ?? usual
}

/** A fixed range moved by half its length; of a moving one, the stretch before it. */
export function shifted(r: TimeRange, by: 1 | -1, now: number): string {
  const half = ((r.to - r.from) / 2) * by
  const to = Math.min(now, r.to + half)
  return fixedRange(to - (r.to - r.from), to)
}

/** "4 min 40 s". */
export const lengthOf = (r: TimeRange): string => duration((r.to - r.from) / 1000)

/** "last hour", "14:02:10 to 14:06:50". */
export const inWords = (r: TimeRange): string => (r.fixed ? r.word : r.word.toLowerCase())
