import type { Lane, MapData, MapEdge, MapNode, MapPath, Reading, State, Trend } from '../api/types'
import { best, known, plural } from '../text/format'
import { lanes, laneWord, noteworthy, order, stateWord, worse } from './words'

// What of the map is drawn: filtered, and past a certain size with its lanes folded into groups of like names.

/** A node as it is drawn: one of the map's, or a fold of several. */
export interface ViewNode {
  id: string
  lane: Lane
  name: string
  state: State
  why?: string | undefined
  delay: Reading | null
  rate: Reading | null
  note: string
  trend: Trend
  /** The map's own, where it is not a fold. */
  node: MapNode | null
  members: MapNode[]
}

export interface ViewEdge {
  id: string
  from: string
  to: string
  state: State
  delay: Reading | null
  rate: Reading | null
  lag: Reading | null
  members: MapEdge[]
}

export interface View {
  nodes: ViewNode[]
  edges: ViewEdge[]
  /** Nodes of the map, and how many of them the filter lets through. */
  total: number
  shown: number
  folded: boolean
  /** For every node of the map that is drawn, the drawn node that stands for it. */
  standsFor: Map<string, string>
}

/** Beyond this many nodes, lanes are folded. */
export const foldAbove = 200
/** A lane with no more than this is never folded. */
const laneKeeps = 24
const foldsPerLane = 12
const standOut = 6

const stateNames: Record<string, State> = {
  late: 'late',
  'at-risk': 'at_risk',
  'on-time': 'on_time',
  idle: 'idle',
  paused: 'paused',
  unknown: 'unknown',
  dead: 'dead',
}

/** Whether a node answers to a filter: every word is in its name, its owner's, or is `is:STATE`, `lane:LANE` or `owner:NAME`. */
export function matches(n: MapNode, filter: string): boolean {
  return filter
    .toLowerCase()
    .split(/\s+/)
    .filter(Boolean)
    .every((word) => {
      if (word.startsWith('is:')) return stateNames[word.slice(3)] === n.state
      if (word.startsWith('lane:')) return n.lane === word.slice(5).replace(/s$/, '')
      const owner = n.owner?.toLowerCase() ?? ''
      if (word.startsWith('owner:')) return owner.includes(word.slice(6))
      return n.name.toLowerCase().includes(word) || n.ref.toLowerCase().includes(word) || owner.includes(word)
    })
}

/** The nodes that answer to the filter, and everything up and down the stream from them. */
export function reach(map: Pick<MapData, 'nodes' | 'edges'>, filter: string): Set<string> {
  if (!filter.trim()) return new Set(map.nodes.map((n) => n.id))
  const forward = new Map<string, string[]>()
  const back = new Map<string, string[]>()
  for (const e of map.edges) {
    push(forward, e.from, e.to)
    push(back, e.to, e.from)
  }
  const hits = map.nodes.filter((n) => matches(n, filter)).map((n) => n.id)
  const found = new Set(hits)
  for (const next of [forward, back]) {
    const seen = new Set(hits)
    const queue = [...hits]
    for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
      for (const other of next.get(id) ?? []) {
        if (seen.has(other)) continue
        seen.add(other)
        found.add(other)
        queue.push(other)
      }
    }
  }
  return found
}

function push(m: Map<string, string[]>, key: string, value: string): void {
  const list = m.get(key)
  if (list) list.push(value)
  else m.set(key, [value])
}

export function view(
  map: Pick<MapData, 'nodes' | 'edges'>,
  filter: string,
  open: ReadonlySet<string>,
  keep: ReadonlySet<string> = new Set(),
): View {
  const ids = new Set(map.nodes.map((n) => n.id))
  const inReach = reach(map, filter)
  const nodes = map.nodes.filter((n) => inReach.has(n.id))
  const folded = nodes.length > foldAbove
  const standsFor = new Map<string, string>()
  const out: ViewNode[] = []
  for (const lane of lanes) {
    const those = nodes.filter((n) => n.lane === lane)
    const groups = folded && those.length > laneKeeps ? fold(those, keep) : new Map(those.map((n) => [n.id, [n]]))
    for (const [key, members] of groups) {
      const [only] = members
      if (!only) continue
      const id = `fold:${lane}:${key}`
      if (members.length === 1 || open.has(id)) {
        for (const n of members) {
          out.push(single(n))
          standsFor.set(n.id, n.id)
        }
      } else {
        out.push(several(id, lane, key, members))
        for (const n of members) standsFor.set(n.id, id)
      }
    }
  }

  const edges = new Map<string, MapEdge[]>()
  for (const e of map.edges) {
    if (!ids.has(e.from) || !ids.has(e.to)) continue
    const from = standsFor.get(e.from)
    const to = standsFor.get(e.to)
    if (!from || !to || from === to) continue
    const key = from === e.from && to === e.to ? e.id : `bundle:${from}>${to}`
    const list = edges.get(key)
    if (list) list.push(e)
    else edges.set(key, [e])
  }
  return {
    nodes: out,
    edges: [...edges].map(([id, members]) => bundle(id, members, standsFor)),
    total: map.nodes.length,
    shown: nodes.length,
    folded,
    standsFor,
  }
}

function single(n: MapNode): ViewNode {
  return {
    id: n.id,
    lane: n.lane,
    name: n.name,
    state: n.state,
    why: n.why,
    delay: n.delay ?? null,
    rate: n.rate ?? null,
    note: n.note ?? '',
    trend: n.trend,
    node: n,
    members: [n],
  }
}

function several(id: string, lane: Lane, key: string, members: MapNode[]): ViewNode {
  const state = members.reduce<State>((s, n) => worse(s, n.state), 'on_time')
  const counts = order.flatMap((s) => {
    const k = members.filter((n) => n.state === s).length
    return k && s !== 'on_time' && s !== 'idle' ? [`${k} ${stateWord[s]}`] : []
  })
  return {
    id,
    lane,
    name: key,
    state,
    why: counts.join(', ') || undefined,
    delay: longest(members.map((n) => n.delay)),
    rate: sum(members.map((n) => n.rate)),
    note: plural(members.length, laneWord[lane].one, laneWord[lane].many),
    trend: 'unknown',
    node: null,
    members,
  }
}

function bundle(id: string, members: MapEdge[], standsFor: ReadonlyMap<string, string>): ViewEdge {
  const [first] = members as [MapEdge, ...MapEdge[]]
  if (members.length === 1 && id === first.id) {
    return {
      id,
      from: first.from,
      to: first.to,
      state: first.state,
      delay: first.delay ?? null,
      rate: first.rate ?? null,
      lag: first.lag ?? null,
      members,
    }
  }
  return {
    id,
    from: standsFor.get(first.from) ?? first.from,
    to: standsFor.get(first.to) ?? first.to,
    state: members.reduce<State>((s, e) => worse(s, e.state), 'on_time'),
    delay: longest(members.map((e) => e.delay)),
    rate: sum(members.map((e) => e.rate)),
    lag: sum(members.map((e) => e.lag)),
    members,
  }
}

/** The reading that is furthest behind. */
export function longest(readings: (Reading | null | undefined)[]): Reading | null {
  const all = readings.filter((r): r is Reading => !!r)
  const some = all.filter(known)
  return some.reduce<Reading | null>((m, r) => (m === null || (best(r) ?? 0) > (best(m) ?? 0) ? r : m), null) ?? all[0] ?? null
}

/** The sum of amounts of one unit. Where a part is unknown, only a lower bound is known, and that is what it says. */
export function sum(readings: (Reading | null | undefined)[]): Reading | null {
  const all = readings.filter((r): r is Reading => !!r)
  const [first] = all
  if (!first) return null
  const some = all.filter(known)
  const missing = readings.length - some.length
  if (!some.length) return first
  const add = (pick: (r: Reading) => number | null) =>
    some.reduce<number | null>((t, r) => {
      const v = pick(r)
      return t === null || v === null ? null : t + v
    }, 0)
  const low = add((r) => r.low ?? r.value)
  const value = add(best)
  if (missing > 0)
    return {
      ...first,
      value: null,
      low: low ?? value,
      high: null,
      state: 'bounded',
      why: `${missing} of ${readings.length} unknown`,
    }
  return {
    ...first,
    value,
    low,
    high: add((r) => r.high ?? r.value),
    state: some.every((r) => r.state === 'exact') ? 'exact' : 'estimate',
  }
}

/** Groups a lane's nodes by the beginnings of their names; what is late and what must be kept stands by itself. */
function fold(nodes: MapNode[], keep: ReadonlySet<string>): Map<string, MapNode[]> {
  const apart = new Set(
    nodes
      .filter((n) => noteworthy(n.state))
      .sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state) || (a.id < b.id ? -1 : 1))
      .slice(0, standOut)
      .map((n) => n.id),
  )
  const groups = new Map<string, MapNode[]>()
  const rest: MapNode[] = []
  for (const n of nodes) {
    if (apart.has(n.id) || keep.has(n.id)) groups.set(n.id, [n])
    else rest.push(n)
  }
  let chosen = prefixes(rest, 1)
  for (let depth = 2; depth <= 6; depth++) {
    const finer = prefixes(rest, depth)
    if (finer.size > foldsPerLane) break
    chosen = finer
  }
  const big = [...chosen].sort((a, b) => b[1].length - a[1].length || (a[0] < b[0] ? -1 : 1))
  const others: MapNode[] = []
  big.forEach(([key, members], i) => {
    const [only] = members
    if (i >= foldsPerLane - 1 && big.length > foldsPerLane) others.push(...members)
    else if (members.length === 1 && only) groups.set(only.id, members)
    else groups.set(key, members)
  })
  if (others.length) groups.set('others', others)
  return groups
}

function prefixes(nodes: MapNode[], depth: number): Map<string, MapNode[]> {
  const out = new Map<string, MapNode[]>()
  for (const n of nodes) {
    const parts = n.name.split(/(?<=[._:-])/)
    const key = parts.length > depth ? `${parts.slice(0, depth).join('')}*` : n.name
    const list = out.get(key)
    if (list) list.push(n)
    else out.set(key, [n])
  }
  return out
}

/** The map's nodes and edges that a path runs over. */
export function along(map: Pick<MapData, 'nodes' | 'edges'>, p: MapPath): { nodes: Set<string>; edges: Set<string> } {
  const nodes = new Set<string>([p.to])
  for (const n of map.nodes) {
    if ((n.lane === 'source' && n.ref === p.source) || (n.lane === 'topic' && n.ref === p.topic)) nodes.add(n.id)
  }
  const edges = new Set(map.edges.filter((e) => nodes.has(e.from) && nodes.has(e.to)).map((e) => e.id))
  return { nodes, edges }
}

/** The paths that run over an edge. */
export function pathsOver(map: MapData, e: Pick<MapEdge, 'from' | 'to'>): MapPath[] {
  return map.paths.filter((p) => {
    const { nodes } = along(map, p)
    return nodes.has(e.from) && nodes.has(e.to)
  })
}

/** The paths that run through a node. */
export function pathsThrough(map: MapData, n: MapNode): MapPath[] {
  return map.paths.filter((p) => p.to === n.id || (n.lane === 'source' && p.source === n.ref) || (n.lane === 'topic' && p.topic === n.ref))
}

/** A path's name in a link. */
export function pathKey(p: Pick<MapPath, 'table' | 'topic' | 'to'>): string {
  return `path:${p.table}>${p.topic}>${p.to}`
}
