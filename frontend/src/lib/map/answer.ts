import type { MapData, MapNode, MapPath, Reading, State } from '../api/types'
import { about, best, clock, duration, known, plural, short } from '../text/format'
import { visible } from '../text/visible'
import { pathKey } from './graph'
import { hopWord, isLate, laneWord, noteworthy, order, stateWord } from './words'

/** The first line of the page, in words, and the line below it that says since when and because of what. */
export interface Answer {
  state: State
  /** What matters, in one sentence. */
  first: string
  /** How the rest is. */
  rest: string
  details: { text: string; at?: string }[]
  /** The path that the first sentence speaks of. */
  path: MapPath | null
  /** The node that it speaks of, where no path does. */
  node: MapNode | null
}

const worstFirst = (a: MapPath, b: MapPath) =>
  order.indexOf(a.state) - order.indexOf(b.state) ||
  (noteworthy(a.state) ? (best(b.total) ?? -1) - (best(a.total) ?? -1) : 0) ||
  compare(a.path, b.path)

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)

/** Paths, worst first: of late ones the longest behind; what is well keeps its place by name while readings change. */
export function sorted(paths: readonly MapPath[]): MapPath[] {
  return [...paths].sort(worstFirst)
}

/**
 * Which of the paths a chart is about: the worst, where something is wrong, else the slowest. One that was chosen before
 * stays while it is about as bad, so that charts do not change their subject with every reading.
 */
export function steady(paths: readonly MapPath[], before: string): MapPath | null {
  const [worst] = paths
  if (!worst) return null
  const value = (p: MapPath) => best(p.total) ?? -1
  const equals = paths.filter((p) => p.state === worst.state)
  const longest = equals.reduce((m, p) => (value(p) > value(m) ? p : m))
  const old = equals.find((p) => pathKey(p) === before)
  return old && (!noteworthy(worst.state) || value(longest) < value(old) * 1.5 + 5) ? old : longest
}

export function answer(map: MapData, now = Date.now()): Answer {
  const paths = sorted(map.paths)
  const late = paths.filter((p) => isLate(p.state))
  const dead = map.nodes.filter((n) => n.state === 'dead')
  const atRisk = paths.filter((p) => p.state === 'at_risk')
  const paused = map.nodes.filter((n) => n.state === 'paused')
  const base = { details: [] as Answer['details'], path: null as MapPath | null, node: null as MapNode | null }

  // What does not answer comes before what is late because of it; a group that nobody reads as comes after.
  const [silent] = dead.filter((n) => n.lane !== 'group')
  if (silent) return deadAnswer(map, paths, silent, dead.length)

  const [worst] = late
  const end = worst?.state === 'dead' ? dead.find((n) => n.id === worst.to) : undefined
  if (end) return deadAnswer(map, paths, end, dead.length)
  if (worst) {
    const many = late.length > 1
    const into = late.every((p) => p.to === worst.to) ? name(worst.to) : ''
    const lead = many
      ? `${plural(late.length, 'path')}${into ? ` into ${into}` : ''} are late, most of all ${visible(worst.path)}: ${behind(worst.total)} behind${direction(worst)}.`
      : `${visible(worst.path)} is ${behind(worst.total)} behind${direction(worst)}.`
    return {
      ...base,
      state: 'late',
      first: lead,
      rest: rest(map, new Set(late)),
      details: details(worst, now),
      path: worst,
    }
  }

  const [behindNode] = outside(map)
  if (behindNode) {
    const seconds = known(behindNode.delay) ? ` is ${behind(behindNode.delay)} behind` : ' is late'
    const where = behindNode.trend === 'rising' ? ', and falling further behind' : behindNode.trend === 'falling' ? ', and catching up' : ''
    const told = behindNode.why ? [{ text: visible(behindNode.why) }] : []
    return {
      ...base,
      state: 'late',
      first: `${visible(behindNode.name)}${seconds}${where}.`,
      rest: rest(map, new Set(), behindNode),
      details: told,
      node: behindNode,
    }
  }

  const [deserted] = dead
  if (deserted) return deadAnswer(map, paths, deserted, dead.length)

  const [risky] = atRisk
  if (risky) {
    const objective = risky.objective_s ? ` of its ${about(risky.objective_s)}` : ''
    const first = `${visible(risky.path)} is at risk: ${behind(risky.total)}${objective}${direction(risky)}.`
    return {
      ...base,
      state: 'at_risk',
      first,
      rest: rest(map, new Set([risky])),
      details: details(risky, now),
      path: risky,
    }
  }

  const [stopped] = paused
  if (stopped) {
    const names = paused.map((n) => visible(n.name))
    const first = `${names[0]}${paused.length > 1 ? ` and ${plural(paused.length - 1, 'other')}` : ''} ${paused.length > 1 ? 'are' : 'is'} paused${reason(stopped.why)}.`
    return {
      ...base,
      state: 'paused',
      first,
      rest: rest(map, new Set(paths.filter((p) => p.state === 'paused'))),
      details: [],
      node: stopped,
    }
  }

  const measured = paths.filter((p) => p.state === 'on_time' || p.state === 'idle')
  if (!measured.length) {
    const [why] = paths.flatMap((p) => (p.why || p.total.why ? [p.why || p.total.why || ''] : []))
    const first = paths.length
      ? `How fresh the data is, is unknown${why ? `: ${visible(why)}` : ''}.`
      : map.nodes.some((n) => n.lane === 'source')
        ? 'Nothing has been delivered yet: no path from a table to a group or a sink is known.'
        : 'How fresh the data is, is unknown: no source is captured here, so commit times are not known.'
    return { ...base, state: 'unknown', first, rest: '', details: [], path: paths[0] ?? null }
  }

  const slowest = [...measured].sort((a, b) => (best(b.total) ?? -1) - (best(a.total) ?? -1))[0] ?? null
  const all = measured.length === paths.length
  const first = all ? 'Everything is on time.' : 'What is measured is on time.'
  const quiet = measured.filter((p) => p.state === 'idle').length
  const list: Answer['details'] = []
  if (slowest && known(slowest.total))
    list.push({
      text: `Slowest of ${plural(measured.length, 'path')}: ${visible(slowest.path)}, ${short(slowest.total)}`,
    })
  if (quiet) list.push({ text: `${plural(quiet, 'path')} idle: nothing was written` })
  return { ...base, state: 'on_time', first, rest: unknownNodes(map, paths.length - measured.length), details: list }
}

function deadAnswer(map: MapData, paths: MapPath[], node: MapNode, count: number): Answer {
  const hit = paths.filter((p) => touches(p, node))
  const more = count > 1 ? `, and ${plural(count - 1, 'other')} ${count === 2 ? 'is' : 'are'} dead` : ''
  const lead = node.lane === 'group' ? `Nobody reads as ${visible(node.name)}` : `${visible(node.name)} does not answer`
  const [worst] = hit
  const out: Answer['details'] = []
  if (hit.length) out.push({ text: `${plural(hit.length, 'path')} ${hit.length === 1 ? 'depends' : 'depend'} on it` })
  if (worst && known(worst.total)) out.push({ text: `${visible(worst.path)} is ${behind(worst.total)} behind` })
  if (node.why) out.push({ text: visible(node.why) })
  return { state: 'dead', first: `${lead}${more}.`, rest: rest(map, new Set(hit)), details: out, path: null, node }
}

function details(p: MapPath, now: number): Answer['details'] {
  const out: Answer['details'] = []
  if (p.since) {
    const worst = known(p.worst) ? `, worst ${short(p.worst)}` : ''
    out.push({
      text: `${cap(stateWord[p.state])} since ${clock(p.since, now)} (${duration((now - Date.parse(p.since)) / 1000)})${worst}`,
      at: p.since,
    })
  }
  const hops = p.hops.filter((h) => known(h.seconds))
  const most = hops.reduce<(typeof hops)[number] | null>(
    (m, h) => ((best(h.seconds) ?? 0) > (m ? (best(m.seconds) ?? 0) : 0) ? h : m),
    null,
  )
  if (most && known(p.total)) out.push({ text: `${hopWord(most.from, most.to)} is ${short(most.seconds)} of the ${short(p.total)}` })
  if (p.why) out.push({ text: visible(p.why) })
  return out
}

/** "42 s", "at least 30 s". */
function behind(r: Reading): string {
  if (!known(r)) return 'an unknown time'
  if (r.value !== null) return about(r.value)
  if (r.low !== null) return `at least ${about(r.low)}`
  return `at most ${about(r.high ?? 0)}`
}

/** ", and catching up: about 3 min to go" */
function direction(p: MapPath): string {
  switch (p.trend) {
    case 'falling': {
      const eta = best(p.eta)
      return eta !== null ? `, and catching up: about ${about(eta)} to go` : ', and catching up'
    }
    case 'rising':
      return ', and falling further behind'
    default:
      return ''
  }
}

/** "The rest is on time, 1 group unknown." Speaks of the paths that are not in said, and of nodes that are unknown. */
function rest(map: MapData, said: ReadonlySet<MapPath>, node?: MapNode): string {
  const left = map.paths.filter((p) => !said.has(p))
  const alone = outside(map).filter((n) => n !== node)
  if (!left.length && !alone.length) return unknownNodes(map)
  const counts = new Map<State, number>()
  for (const p of left) counts.set(p.state, (counts.get(p.state) ?? 0) + 1)
  const fine = (counts.get('on_time') ?? 0) + (counts.get('idle') ?? 0)
  const parts: string[] = []
  for (const s of ['dead', 'late', 'at_risk', 'paused'] as const) {
    const n = counts.get(s)
    if (n) parts.push(`${n} ${stateWord[s]}`)
  }
  if (alone.length) parts.push(`${plural(alone.length, laneWord[alone[0]?.lane ?? 'group'].one)} late`)
  const silent = unknownWords(map, counts.get('unknown') ?? 0)
  if (fine && !parts.length) return `The rest is on time${silent ? `, ${silent} unknown` : ''}.`
  if (fine) parts.push(`${fine} on time`)
  if (silent) parts.push(`${silent} unknown`)
  return `Of the rest, ${list(parts)}.`
}

/** Late groups and sinks that no path ends in: what they read comes from no captured table. */
function outside(map: MapData): MapNode[] {
  const ends = new Set(map.paths.map((p) => p.to))
  return map.nodes.filter((n) => n.state === 'late' && (n.lane === 'group' || n.lane === 'sink') && !ends.has(n.id))
}

function unknownNodes(map: MapData, paths = 0): string {
  const words = unknownWords(map, paths)
  return words ? `${cap(words)} unknown.` : ''
}

function unknownWords(map: MapData, paths: number): string {
  for (const lane of ['group', 'sink', 'source', 'topic'] as const) {
    const n = map.nodes.filter((x) => x.lane === lane && x.state === 'unknown').length
    if (n) return plural(n, laneWord[lane].one, laneWord[lane].many)
  }
  return paths ? plural(paths, 'path') : ''
}

function touches(p: MapPath, n: MapNode): boolean {
  return p.to === n.id || (n.lane === 'source' && p.source === n.ref) || (n.lane === 'topic' && p.topic === n.ref)
}

function reason(why: string | undefined): string {
  return why ? `: ${visible(why).replace(/[.\s]+$/, '')}` : ''
}

function list(parts: string[]): string {
  if (parts.length < 2) return parts.join('')
  return `${parts.slice(0, -1).join(', ')} and ${parts[parts.length - 1]}`
}

function name(id: string): string {
  return visible(id.slice(id.indexOf(':') + 1))
}

function cap(s: string): string {
  return s.charAt(0).toUpperCase() + s.slice(1)
}
