import { arrivalOf } from './hops'
import { deletes, startOf, type Version } from './trace'

/** A stretch of time in which a place held one version. */
export interface Band {
  version: Version
  from: number
  to: number
  /** Before from, it is only known that it came since then. */
  maybe: number
  state: 'held' | 'stale' | 'gone'
}

export interface Lane {
  /** `commit`, `topic`, `group:NAME`, `sink:NAME`. */
  id: string
  name: string
  bands: Band[]
  /** Stretches of which nothing is known, and why. */
  unknown: { from: number; to: number; why: string }[]
}

/** Which version each place held, in the order of the places. */
export function lanesOf(versions: readonly Version[], now: number): Lane[] {
  const ids = new Map<string, string>()
  if (versions.some((v) => v.commit)) ids.set('commit', 'Committed')
  for (const v of versions)
    for (const h of v.hops) if (h.to !== 'captured') ids.set(h.to, h.to === 'topic' ? 'Topic' : h.to.slice(h.to.indexOf(':') + 1))
  return [...ids].map(([id, name]) => laneOf(id, name, versions, now))
}

function laneOf(id: string, name: string, versions: readonly Version[], now: number): Lane {
  const lane: Lane = { id, name, bands: [], unknown: [] }
  for (const v of versions) {
    const hop = v.hops.find((h) => h.to === id)
    const a = id === 'commit' ? null : hop ? arrivalOf(hop.state, hop.delay, now) : undefined
    if (a === undefined) continue
    const start = startOf(v)
    if (a?.state === 'waiting') continue
    if (a?.state === 'unknown' || (a && a.seconds === null)) {
      lane.unknown.push({ from: start, to: now, why: a.why || 'not known when' })
      continue
    }
    const at = a ? start + (a.loose ? (a.high ?? a.low) : (a.seconds ?? 0)) * 1000 : start
    const from = Math.min(now, at)
    const last = lane.bands.at(-1)
    if (last) last.to = Math.max(last.from, from)
    lane.bands.push({
      version: v,
      from,
      to: now,
      maybe: a?.loose ? Math.min(from, start + a.low * 1000) : from,
      state: deletes(v) ? 'gone' : 'held',
    })
  }
  for (const u of lane.unknown) u.to = Math.min(now, ...lane.bands.filter((b) => b.maybe > u.from).map((b) => b.maybe))
  const last = lane.bands.at(-1)
  const newest = versions.at(-1)
  if (last && newest && last.version !== newest && newest.hops.find((h) => h.to === id)?.state === 'waiting') last.state = 'stale'
  // What was replaced in the same moment was never held.
  lane.bands = lane.bands.filter((b, i) => b.to > b.from || i === lane.bands.length - 1)
  return lane
}

/** What a lane held at a moment; null where nothing, or nothing known. */
export function heldAt(lane: Lane, at: number): Band | null {
  return lane.bands.findLast((b) => b.from <= at) ?? null
}

/** Moments at which anything changed, in order: what "as of" steps through. The last is now. */
export function moments(lanes: readonly Lane[], now: number): number[] {
  const all = new Set<number>([now])
  for (const l of lanes) for (const b of l.bands) all.add(Math.round(b.from))
  return [...all].filter((t) => t <= now).sort((a, b) => a - b)
}

/** Time on an axis from 0 to 1 on which a long time with nothing in it is shortened, and said to be. */
export interface Axis {
  at: (ms: number) => number
  ms: (at: number) => number
  breaks: readonly number[]
  ticks: readonly { ms: number; at: number }[]
}

/** A gap longer than the usual one by this much is broken. */
const longer = 2

export function axisOf(times: readonly number[], now: number): Axis {
  const t = [...new Set([...times, now])].sort((a, b) => a - b)
  const first = t[0] ?? now
  const gaps = t.slice(1).map((x, i) => x - (t[i] ?? x))
  const usual = [...gaps].sort((a, b) => a - b)[Math.floor((gaps.length - 1) * 0.75)] ?? 0
  const cap = Math.max(1000, usual * longer)
  const widths = gaps.map((g) => (g <= cap ? g : cap * (1 + 0.1 * Math.log2(g / cap))))
  // A little of the time before, so that the beginning is seen as one.
  const lead = Math.max(1, widths.reduce((a, b) => a + b, 0) * 0.04)
  const sum = widths.reduce((a, b) => a + b, lead) || 1
  const starts: number[] = []
  let x = lead
  for (const w of [...widths, 0]) {
    starts.push(x / sum)
    x += w
  }
  const at = (ms: number) => {
    if (ms <= first) return Math.max(0, (starts[0] ?? 0) - (first - ms) / sum)
    const i = t.findLastIndex((v) => v <= ms)
    const [a, b] = [starts[i] ?? 1, starts[i + 1] ?? 1]
    const gap = gaps[i]
    return gap ? a + ((ms - (t[i] ?? ms)) / gap) * (b - a) : a
  }
  const ms = (p: number) => {
    const i = starts.findLastIndex((s) => s <= p)
    if (i < 0) return first
    const [a, b] = [starts[i] ?? 1, starts[i + 1] ?? 1]
    return (t[i] ?? now) + (b > a ? ((p - a) / (b - a)) * (gaps[i] ?? 0) : 0)
  }
  const breaks = gaps.flatMap((g, i) => (g > cap * 2 ? [((starts[i] ?? 0) + (starts[i + 1] ?? 1)) / 2] : []))
  const ticks: { ms: number; at: number }[] = []
  for (const v of t.slice(0, -1)) {
    const p = at(v)
    if (p < 0.86 && (!ticks.length || p - (ticks.at(-1)?.at ?? 0) > 0.16)) ticks.push({ ms: v, at: p })
  }
  return { at, ms, breaks, ticks }
}
