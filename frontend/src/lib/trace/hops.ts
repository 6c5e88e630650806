import type { MapPath, Reading } from '../api/types'
import { best, duration, known } from '../text/format'
import { deletes, type Held, startOf, type Version } from './trace'

/** When one place had the change, in seconds since the commit, as far as that is known. */
export interface Arrival {
  state: 'arrived' | 'waiting' | 'unknown'
  /** The best that can be said; of one that waits, how long it does. null: nothing can. */
  seconds: number | null
  low: number
  high: number | null
  /** Whether the bounds are so wide that only they can be said. */
  loose: boolean
  why: string
}

/** A row of the waterfall. */
export interface HopRow extends Arrival {
  /** `commit`, `captured`, `topic`, `group:NAME`, `sink:NAME`. */
  id: string
  kind: 'commit' | 'captured' | 'topic' | 'group' | 'sink'
  name: string
  /** What happens at this hop. */
  does: string
  /** Seconds since the commit at which the hop could begin. */
  from: number | null
  /** How long the hop itself took. */
  took: string
  /** In seconds since the commit, where one is set for this path. */
  objective: number | null
  late: boolean
}

/** Bounds wider than this much of the value say more than the value does. */
const looseShare = 0.9

export function arrivalOf(state: string, r: Reading, now: number): Arrival {
  const value = best(r)
  const none = { seconds: null, low: 0, high: null, loose: true, why: r.why ?? '' }
  if (state !== 'arrived' && state !== 'waiting') return { state: 'unknown', ...none }
  if (!known(r) || value === null) return { state, ...none }
  // What waits goes on waiting since it was read.
  const since = state === 'waiting' && r.as_of ? Math.max(0, (now - Date.parse(r.as_of)) / 1000) : 0
  const low = Math.max(0, r.low ?? value) + since
  const high = r.high === null ? null : r.high + since
  const width = (high ?? low) - low
  return {
    state,
    seconds: Math.max(0, value) + since,
    low,
    high,
    loose: state === 'arrived' && width > Math.max(1, value * looseShare),
    why: r.why ?? '',
  }
}

/** The rows from the commit to everyone who uses the change, each below what it waits for. */
export function hopRows(v: Version, paths: readonly MapPath[], now: number): HopRow[] {
  const captured = v.position !== undefined && v.position !== ''
  const none = { objective: null, late: false }
  const done: Arrival = { state: 'arrived', seconds: 0, low: 0, high: 0, loose: false, why: '' }
  const rows: HopRow[] = []
  if (v.commit)
    rows.push({
      id: 'commit',
      kind: 'commit',
      name: 'Commit',
      does: captured ? 'in the database' : 'as the record says',
      from: 0,
      took: '',
      ...done,
      ...none,
    })
  let before: Arrival = done
  let topic: Arrival = done
  for (const h of v.hops) {
    const kind = kindOf(h.to)
    if (kind === 'captured' && !captured) continue
    const a = arrivalOf(h.state, h.delay, now)
    const after = kind === 'group' || kind === 'sink' ? topic : before
    const objective = paths.find((p) => p.topic === v.topic && p.cluster === v.cluster && p.to === h.to)?.objective_s ?? null
    const name = kind === 'captured' ? 'Capture' : kind === 'topic' ? v.topic : h.to.slice(h.to.indexOf(':') + 1)
    rows.push({
      id: h.to,
      kind,
      name,
      does: doesWord(kind, a.state),
      ...a,
      from: after.seconds,
      took: tookWord(a, after),
      objective,
      late: objective !== null && a.low > objective,
    })
    before = a
    if (kind === 'topic') topic = a
  }
  return rows
}

function kindOf(to: string): HopRow['kind'] {
  if (to.startsWith('group:')) return 'group'
  if (to.startsWith('sink:')) return 'sink'
  return to === 'captured' ? 'captured' : 'topic'
}

function doesWord(kind: HopRow['kind'], state: Arrival['state']): string {
  switch (kind) {
    case 'captured':
      return 'read from the WAL'
    case 'topic':
      return 'append to the topic'
    case 'group':
      return state === 'waiting' ? 'group, has not committed it' : 'group, wait and read'
    default:
      return state === 'waiting' ? 'sink, not applied yet' : 'sink, wait and apply'
  }
}

/** How long a hop took: its arrival less that of what it waited for. */
function tookWord(a: Arrival, after: Arrival): string {
  if (a.state === 'unknown') return 'unknown'
  if (a.seconds === null) return a.state === 'waiting' ? 'still waiting' : 'arrived, unknown when'
  if (a.loose)
    return a.high === null ? `at least ${duration(a.low)}` : `at most ${duration(Math.max(0, a.high - (after.loose ? 0 : after.low)))}`
  const own = a.seconds - (after.loose ? 0 : (after.seconds ?? 0))
  const width = (a.high ?? a.low) - a.low
  // Both moments were seen only from round to round, so that the later one may have been guessed earlier.
  if (own <= width * 0.05) return `at most ${duration(Math.max(0, (a.high ?? a.seconds) - after.low))}`
  return `${width > own * 0.1 ? '≈ ' : ''}${duration(own)}`
}

/** The bounds of an arrival, '' where there is nothing to add. */
export function boundsWord(a: Arrival): string {
  if (a.seconds === null || a.high === null || a.high - a.low < 0.001) return ''
  return `between ${duration(a.low)} and ${duration(a.high)} after the commit`
}

/** When the hop ended, in ms; null where that is not known to a second or has not come. */
export function endedAt(v: Version, a: Arrival): number | null {
  return a.state === 'arrived' && a.seconds !== null && !a.loose ? startOf(v) + a.seconds * 1000 : null
}

/** Seconds since the commit on an axis from 0 to 1: straight up to 10 ms, logarithmic from there. */
export interface Scale {
  at: (seconds: number) => number
  ticks: readonly { seconds: number; at: number; word: string }[]
}

const straight = 0.01
const straightShare = 0.08

export function scaleTo(most: number): Scale {
  const top = Math.max(1, most) * 1.15
  const at = (s: number) => {
    if (s <= straight) return (Math.max(0, s) / straight) * straightShare
    return Math.min(1, straightShare + (Math.log(s / straight) / Math.log(top / straight)) * (1 - straightShare))
  }
  const steps: [number, string][] = [
    [0, '0'],
    [0.01, '10 ms'],
    [0.1, '100 ms'],
    [1, '1 s'],
    [10, '10 s'],
    [60, '1 min'],
    [600, '10 min'],
    [3600, '1 h'],
    [36_000, '10 h'],
    [864_000, '10 d'],
    [8_640_000, '100 d'],
  ]
  return { at, ticks: steps.filter(([s]) => s <= top * 0.9).map(([seconds, word]) => ({ seconds, at: at(seconds), word })) }
}

/** What a sink holds of the row, against the newest version. */
export interface Verdict {
  state: 'same' | 'stale' | 'differs' | 'absent' | 'gone' | 'left' | 'unknown'
  words: string
  /** Whether it is not what it should be, or not yet. */
  wrong: boolean
  /** The version that its position says it holds, where that is known. */
  version: Version | null
}

export function verdictOf(h: Held, versions: readonly Version[]): Verdict {
  const newest = versions.at(-1)
  const version = appliedBy(h, versions)
  const behind = h.behind ?? null
  const late = behind !== null && behind > 0
  const why = h.why ? `: ${h.why}` : ''
  if (h.state === 'unknown' || !newest) return { state: 'unknown', words: `unknown${why}`, wrong: false, version: null }
  if (h.state === 'absent') {
    if (deletes(newest) && !late) return { state: 'gone', words: 'holds no such row, as it should', wrong: false, version }
    if (late) return { state: 'absent', words: `holds no such row yet: ${waits(behind)}${why}`, wrong: !deletes(newest), version }
    return {
      state: 'absent',
      words: `holds no such row${behind === 0 ? ', though it applied the newest version' : ''}${why}`,
      wrong: true,
      version,
    }
  }
  if (deletes(newest)) {
    return {
      state: 'left',
      words: late ? 'still holds the row: its deletion waits' : 'still holds the row, which was deleted',
      wrong: true,
      version,
    }
  }
  const fields = h.differs ?? []
  if (!fields.length) return { state: 'same', words: 'holds what the newest version says', wrong: false, version: newest }
  if (late)
    return {
      state: 'stale',
      words: `holds ${version ? `version ${version.n}` : 'an older version'}: ${waits(behind)}`,
      wrong: true,
      version,
    }
  return {
    state: 'differs',
    words: behind === 0 ? 'applied the newest version, and holds other values' : 'holds other values',
    wrong: true,
    version,
  }
}

const waits = (n: number): string => (n === 1 ? 'the newest version waits' : `the newest ${n} versions wait`)

/** The newest version before the sink's next offset. */
function appliedBy(h: Held, versions: readonly Version[]): Version | null {
  if (!h.next) return null
  const next = BigInt(h.next)
  const partition = versions.at(-1)?.partition
  return versions.findLast((v) => v.partition === partition && BigInt(v.offset) < next) ?? null
}
