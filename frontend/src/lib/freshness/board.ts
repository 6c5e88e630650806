import type { Hop, MapNode, MapPath, Point, State } from '../api/types'
import { sorted } from '../map/answer'
import { hopWord, isLate, order } from '../map/words'
import { about, best, clock, count, duration, known, plural, short } from '../text/format'
import { visible } from '../text/visible'

export type Kind = 'all' | 'missed' | 'risk' | 'unknown' | 'met'

export const kinds: Record<Kind, string> = { all: 'All', missed: 'Missed', risk: 'At risk', unknown: 'Unknown', met: 'Met' }

export function isKind(p: Pick<MapPath, 'state'>, kind: Kind): boolean {
  switch (kind) {
    case 'missed':
      return isLate(p.state)
    case 'risk':
      return p.state === 'at_risk'
    case 'unknown':
      return p.state === 'unknown' || p.state === 'paused'
    case 'met':
      return p.state === 'on_time' || p.state === 'idle'
    default:
      return true
  }
}

export type Sort = 'need' | 'path' | 'now' | 'objective' | 'since'

export const sorts: Record<Sort, string> = { need: 'by need', path: 'path', now: 'now', objective: 'objective', since: 'since' }

const bare = Number.NEGATIVE_INFINITY
const values: Record<Exclude<Sort, 'path'>, (p: MapPath) => number> = {
  need: (p) => -order.indexOf(p.state),
  now: (p) => best(p.total) ?? bare,
  objective: (p) => p.objective_s ?? bare,
  since: (p) => (p.since ? Date.parse(p.since) : bare),
}

/** Paths in an order; by need, the worst first and of those the longest behind. */
export function arranged(paths: readonly MapPath[], sort: Sort, down: boolean): MapPath[] {
  if (sort === 'need') return down ? sorted(paths) : sorted(paths).reverse()
  const sign = down ? -1 : 1
  const name = (a: MapPath, b: MapPath) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0)
  if (sort === 'path') return [...paths].sort((a, b) => name(a, b) * sign)
  const value = values[sort]
  return [...paths].sort((a, b) => {
    const [x, y] = [value(a), value(b)]
    return (x === y ? 0 : x < y ? -1 : 1) * sign || name(a, b)
  })
}

/** Who owns a path: whoever owns its end, else its topic. */
export function ownerOf(p: MapPath, nodes: ReadonlyMap<string, MapNode>): string {
  return nodes.get(p.to)?.owner || nodes.get(`topic:${p.topic}`)?.owner || nodes.get(`topic:${p.cluster}/${p.topic}`)?.owner || ''
}

/** The hop that takes longest; null where none is known. */
export function longestHop(p: Pick<MapPath, 'hops'>): Hop | null {
  return p.hops.reduce<Hop | null>((m, h) => (known(h.seconds) && (best(h.seconds) ?? 0) > (m ? (best(m.seconds) ?? 0) : -1) ? h : m), null)
}

/** The kinds of hops, in the order that a change passes them. */
export const hopKinds = ['captured', 'appended', 'taken'] as const
export type HopKind = (typeof hopKinds)[number]
export const hopKindWord: Record<HopKind, string> = {
  captured: 'commit to capture',
  appended: 'capture to topic',
  taken: 'topic to group or sink',
}

export function hopKind(h: Pick<Hop, 'from' | 'to'>): HopKind {
  return h.to === 'captured' ? 'captured' : h.from === 'captured' || h.to.startsWith('topic:') ? 'appended' : 'taken'
}

/** What the history calls a hop. */
export function hopSeries(h: Pick<Hop, 'from' | 'to'>): string {
  const kind = hopKind(h)
  return kind === 'captured'
    ? 'commit-captured'
    : kind === 'appended'
      ? 'captured-topic'
      : h.to.startsWith('group:')
        ? 'topic-group'
        : 'topic-sink'
}

export interface Answer {
  state: State
  first: string
  rest: string
  details: string[]
}

/** Which objective is missed, since when and by which hop. */
export function answerOf(paths: readonly MapPath[], now: number): Answer {
  const all = paths.filter((p) => p.objective_s)
  const free = paths.length - all.length
  const without = free ? [`${plural(free, 'path')} without an objective`] : []
  if (!all.length) {
    const slowest = arranged(paths, 'now', true)[0]
    const details = slowest && known(slowest.total) ? [`Slowest: ${visible(slowest.path)}, ${short(slowest.total)}`] : []
    return {
      state: 'unknown',
      first: paths.length ? 'No path has an objective to keep.' : 'No path from a table to a group or a sink is known yet.',
      rest: '',
      details,
    }
  }
  const ranked = sorted(all)
  const missed = ranked.filter((p) => isLate(p.state))
  const risky = ranked.filter((p) => p.state === 'at_risk')
  const unknown = ranked.filter((p) => isKind(p, 'unknown'))
  const met = all.length - missed.length - unknown.length
  const of = (n: number, word: string) => (n ? `${count(n)} ${n === 1 ? 'is' : 'are'} ${word}` : '')
  const rest = (parts: string[]) => {
    const text = parts.filter(Boolean).join(', ')
    return text ? `${text}.` : ''
  }
  const [worst] = missed
  if (worst) {
    const head = `${count(missed.length)} of ${plural(all.length, 'objective')} ${missed.length === 1 ? 'is' : 'are'} missed`
    return {
      state: worst.state,
      first: `${head}${missed.length > 1 ? ', most of all' : ':'} ${visible(worst.path)}, ${against(worst)}.`,
      rest: rest([of(met, 'met'), of(unknown.length, 'unknown')]),
      details: [...because(worst, now), ...without],
    }
  }
  if (met === 0) {
    const [p] = unknown
    return {
      state: 'unknown',
      first: `Whether ${all.length === 1 ? 'the objective is' : 'the objectives are'} met is unknown.`,
      rest: '',
      details: [visible(p?.why || p?.total.why || ''), ...without].filter(Boolean),
    }
  }
  const [close] = risky
  const every = unknown.length
    ? `${count(met)} of ${plural(all.length, 'objective')} are met`
    : all.length === 1
      ? 'The objective is met'
      : `All ${count(all.length)} objectives are met`
  if (close)
    return {
      state: 'at_risk',
      first: `${every}, but ${visible(close.path)} is at risk: ${against(close)}.`,
      rest: rest([of(unknown.length, 'unknown')]),
      details: [...because(close, now), ...without],
    }
  const slowest = arranged(all, 'now', true)[0]
  return {
    state: 'on_time',
    first: `${every}.`,
    rest: rest([of(unknown.length, 'unknown')]),
    details: [...(slowest && known(slowest.total) ? [`Slowest: ${visible(slowest.path)}, ${against(slowest)}`] : []), ...without],
  }
}

/** "42 s against 15 s". */
function against(p: MapPath): string {
  const objective = about(p.objective_s ?? 0)
  if (!known(p.total)) return `${p.why ? visible(p.why) : 'an unknown time'}, against ${objective}`
  return `${p.total.value === null ? short(p.total) : about(p.total.value)} against ${objective}`
}

function because(p: MapPath, now: number): string[] {
  const most = longestHop(p)
  const eta = best(p.eta)
  return [
    p.since ? `Since ${clock(p.since, now)}, for ${duration(Math.max(0, now - Date.parse(p.since)) / 1000)}` : '',
    most && known(p.total) ? `${visible(hopWord(most.from, most.to))} spends ${short(most.seconds)} of the ${short(p.total)}` : '',
    p.trend === 'falling' ? `catching up${eta ? `: about ${about(eta)} to go` : ''}` : p.trend === 'rising' ? 'falling further behind' : '',
    p.why ? visible(p.why) : '',
  ].filter(Boolean)
}

export type SliceState = 'on_time' | 'at_risk' | 'late' | 'unknown'

/** A stretch of time in one state, in ms. */
export interface Stretch {
  from: number
  to: number
  state: SliceState
}

/** How a reading stands against an objective: surely over it, perhaps, or inside; as the server judges. */
function stand(p: Point, objective: number | null): SliceState {
  const r = p.reading
  const v = best(r)
  if (!known(r) || v === null) return 'unknown'
  if (objective === null) return 'on_time'
  if ((r.low ?? v) > objective) return 'late'
  return (r.high ?? v) > objective || v > objective * 0.8 ? 'at_risk' : 'on_time'
}

const worst: readonly SliceState[] = ['late', 'at_risk', 'on_time', 'unknown']

/** [from, to) in n slices, each in the worst state read in it, and unknown where nothing was; like ones joined. */
export function strip(points: readonly Point[], from: number, to: number, n: number, objective: number | null): Stretch[] {
  const width = (to - from) / n
  const slices: SliceState[] = Array.from({ length: n }, () => 'unknown')
  for (const p of points) {
    const i = Math.floor((Date.parse(p.at) - from) / width)
    const state = stand(p, objective)
    const old = slices[i]
    if (old !== undefined && worst.indexOf(state) < worst.indexOf(old)) slices[i] = state
  }
  const out: Stretch[] = []
  slices.forEach((state, i) => {
    const last = out[out.length - 1]
    const end = i === n - 1 ? to : from + (i + 1) * width
    if (last?.state === state) last.to = end
    else out.push({ from: from + i * width, to: end, state })
  })
  return out
}

export interface Share {
  /** Of the time that was read, the share inside the objective, 0 to 1; null where nothing was, or there is no objective. */
  inside: number | null
  /** Of the whole stretch, the share that was read. */
  read: number
  readings: number
  /** The worst reading, and when. */
  worst: { seconds: number; at: number } | null
}

/**
 * How much of [from, to) an objective was kept. Each reading stands until the next, or for three usual steps where none
 * comes; what may be over the objective, by its bounds, is not counted as inside.
 */
export function share(points: readonly Point[], from: number, to: number, objective: number | null): Share {
  const inside = points.filter((p) => Date.parse(p.at) >= from && Date.parse(p.at) < to)
  const times = inside.map((p) => Date.parse(p.at))
  const steps = times
    .slice(1)
    .map((t, i) => t - (times[i] ?? t))
    .sort((a, b) => a - b)
  const most = Math.max(1000, (steps[Math.floor(steps.length / 2)] ?? 0) * 3)
  let [kept, read, readings] = [0, 0, 0]
  let peak: Share['worst'] = null
  inside.forEach((p, i) => {
    const at = times[i] ?? from
    const v = best(p.reading)
    if (!known(p.reading) || v === null) return
    const stands = Math.min(most, (times[i + 1] ?? to) - at)
    read += stands
    readings++
    if (objective !== null && (p.reading.high ?? v) <= objective) kept += stands
    if (!peak || v > peak.seconds) peak = { seconds: v, at }
  })
  return { inside: objective !== null && read > 0 ? kept / read : null, read: Math.min(1, read / (to - from)), readings, worst: peak }
}

/** A share as a percentage that never rounds up to all of it. */
export function percent(share: number): string {
  if (share >= 1) return '100 %'
  const p = Math.floor(share * 1000) / 10
  return `${p.toFixed(p >= 10 && Number.isInteger(p) ? 0 : 1)} %`
}

/** What a strip shows, in a sentence. */
export function stripWords(name: string, stretches: readonly Stretch[], range: string): string {
  const total = stretches.reduce((s, x) => s + x.to - x.from, 0)
  const of = (state: SliceState) => stretches.filter((x) => x.state === state).reduce((s, x) => s + x.to - x.from, 0)
  const words: [SliceState, string][] = [
    ['late', 'late'],
    ['at_risk', 'at risk'],
    ['on_time', 'on time'],
    ['unknown', 'not read'],
  ]
  const parts = words.flatMap(([s, w]) => (of(s) > 0 ? [`${percent(of(s) / total)} ${w}`] : []))
  return `${name}, ${range}: ${parts.join(', ')}`
}
