import type { MapData, Reading, State, TopicRow, TopicRows } from '../api/types'
import { clusterOf } from '../history'
import { isLate, order } from '../map/words'
import { about, best, count, duration, known, plural } from '../text/format'
import { visible } from '../text/visible'

// Ten thousand topics, judged once per reading: filtering and choosing a sort touch only what was made here.

/** Who reads a topic: a group, or a sink of ours. */
export interface Reader {
  kind: 'group' | 'sink'
  name: string
  state: State
  /** Seconds behind; null where that is not known. */
  seconds: number | null
  low: number | null
  high: number | null
  why: string
  /** What people call the topic on this way: the table's name. */
  table?: string
  /** Records were gone before it had read them. */
  lost?: boolean
}

export type Kind = 'lost' | 'late' | 'retention' | 'risk' | 'letters' | 'unknown' | 'unused' | 'owner'

/** Why a topic needs a look, and the column whose cell says it. */
export interface Reason {
  kind: Kind
  column: 'left' | 'readers' | 'owner' | 'size'
}

export interface Seen {
  row: TopicRow
  /** Whether it is written to. */
  state: State
  /** null where the groups are not known. */
  readers: number | null
  worst: Reader | null
  /** Seconds until retention takes the oldest record that the worst reader needs; null where that is not known, or never. */
  left: number | null
  reasons: readonly Reason[]
  /** 0 needs a look, 1 nothing to do, 2 internal. */
  part: 0 | 1 | 2
  hay: string
}

/** Worst first. */
const kinds: readonly Kind[] = ['lost', 'late', 'retention', 'risk', 'letters', 'unknown', 'unused', 'owner']
const columnOf: Record<Kind, Reason['column']> = {
  lost: 'readers',
  late: 'readers',
  retention: 'left',
  risk: 'readers',
  letters: 'readers',
  unknown: 'readers',
  unused: 'readers',
  owner: 'owner',
}

/** How far behind, in seconds, a reader is late that has no objective: as the verdict on groups has it. */
const lateAfter = 10
/** A topic is unused where nobody reads it and nothing was written for this long, in ms. */
const unusedAfter = 7 * 86_400_000
/** Of what retention keeps, so much must be left. */
const leftLeast = 0.2

const letters = /(^|[._-])(dlq|dlt|dead[._-]?letters?)([._-]|$)/i
export const isLetters = (topic: string): boolean => letters.test(topic)

/** What reads the topics of a cluster, as the map has it. */
export function mapReaders(map: MapData | null, cluster: string): Map<string, Reader[]> {
  const out = new Map<string, Reader[]>()
  if (!map) return out
  const nodes = new Map(map.nodes.map((n) => [n.id, n]))
  const paths = new Map(map.paths.filter((p) => p.cluster === cluster).map((p) => [`${p.topic}>${p.to}`, p]))
  for (const e of map.edges) {
    const [from, to] = [nodes.get(e.from), nodes.get(e.to)]
    if (from?.lane !== 'topic' || (to?.lane !== 'group' && to?.lane !== 'sink') || clusterOf(from) !== cluster) continue
    const p = paths.get(`${from.ref}>${to.id}`)
    const delay: Reading | null = p?.total ?? e.delay ?? null
    const state = p?.state ?? (to.lane === 'sink' ? e.state : unbound(delay, e.state, best(e.lag)))
    const reader: Reader = {
      kind: to.lane,
      name: to.ref,
      state,
      seconds: best(delay),
      low: delay?.low ?? delay?.value ?? null,
      high: delay?.high ?? delay?.value ?? null,
      ...(p ? { table: p.path.split(' → ')[0] ?? p.table } : {}),
      why: p?.why || (known(delay) ? '' : (delay?.why ?? to.why ?? '')),
    }
    const list = out.get(from.ref)
    if (list) list.push(reader)
    else out.set(from.ref, [reader])
  }
  return out
}

/** The state of a reader in one topic that no objective is for: its group's own may be another topic's. */
function unbound(delay: Reading | null, group: State, lag: number | null): State {
  if (group === 'dead' && lag !== 0) return 'dead'
  if (!known(delay)) return lag === 0 ? 'on_time' : 'unknown'
  return (delay.low ?? delay.value ?? 0) >= lateAfter ? 'late' : 'on_time'
}

function rowReader(r: NonNullable<TopicRow['worst']>): Reader {
  const state: State =
    r.state === 'lost'
      ? 'late'
      : r.state === 'behind' && r.seconds !== null
        ? (r.low ?? r.seconds) >= lateAfter
          ? 'late'
          : 'on_time'
        : r.state === 'caught_up'
          ? 'on_time'
          : r.state === 'ahead'
            ? 'at_risk'
            : 'unknown'
  return { kind: 'group', name: r.group, state, seconds: r.seconds, low: r.low, high: r.high, why: r.why ?? '', lost: r.state === 'lost' }
}

const worse = (a: Reader, b: Reader) => order.indexOf(a.state) - order.indexOf(b.state) || (b.seconds ?? -1) - (a.seconds ?? -1)

function judge(row: TopicRow, all: TopicRows, onMap: readonly Reader[], owned: boolean, now: number): Seen {
  const list = [...onMap]
  const mine = row.worst ? rowReader(row.worst) : null
  if (mine) {
    const i = list.findIndex((r) => r.kind === 'group' && r.name === mine.name)
    if (i < 0) list.push(mine)
    else if (mine.lost) list[i] = { ...(list[i] as Reader), state: 'late', lost: true }
  }
  list.sort(worse)
  const worst = list[0] ?? null
  const groups = list.filter((r) => r.kind === 'group').length
  const readers = all.readers_as_of || list.length ? Math.max(row.readers ?? 0, groups) + (list.length - groups) : null
  const left = leftOf(row, worst)
  const records = row.records === undefined ? null : Number(row.records)
  const dead = isLetters(row.topic)
  // Topics of brokers and stream applications, and our own, are nobody's to look after.
  const internal = row.internal || row.topic.startsWith('__')
  const found = new Set<Kind>()
  if (!internal) {
    if (worst?.lost) found.add('lost')
    else if (worst && isLate(worst.state)) found.add('late')
    else if (worst?.state === 'at_risk') found.add('risk')
    if (left !== null && left < (Number(row.retention_ms) / 1000) * leftLeast) found.add('retention')
    if (dead && records) found.add('letters')
    if (row.records === undefined || readers === null || worst?.state === 'unknown') found.add('unknown')
    if (readers === 0 && !dead && records && row.last_write && now - Date.parse(row.last_write) > unusedAfter) found.add('unused')
    if (owned && !row.owner) found.add('owner')
  }
  const reasons = kinds.filter((k) => found.has(k)).map((kind) => ({ kind, column: columnOf[kind] }))
  return {
    row,
    state: row.why || row.rate === undefined ? 'unknown' : row.rate > 0 ? 'on_time' : 'idle',
    readers,
    worst,
    left,
    reasons,
    part: internal ? 2 : reasons.length ? 0 : 1,
    hay: `${row.topic}\n${row.owner ?? ''}\n${list.map((r) => r.name).join('\n')}`.toLowerCase(),
  }
}

function leftOf(row: TopicRow, worst: Reader | null): number | null {
  if (row.retention_ms === undefined || row.retention_ms === '-1' || (row.cleanup ?? '').includes('compact')) return null
  if (worst?.high === null || worst?.high === undefined) return null
  return Number(row.retention_ms) / 1000 - worst.high
}

export type Sort = 'look' | 'topic' | 'rate' | 'size' | 'records' | 'left' | 'parts' | 'owner' | 'readers' | 'written'

const text = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)
/** What is not known comes last, whichever way it is sorted. */
const number = (v: number | null | undefined) => (v === null || v === undefined || Number.isNaN(v) ? Number.NEGATIVE_INFINITY : v)
const keys: Record<Exclude<Sort, 'look' | 'topic' | 'owner'>, (s: Seen) => number> = {
  rate: (s) => number(s.row.rate),
  size: (s) => number(s.row.bytes === undefined ? null : Number(s.row.bytes)),
  records: (s) => number(s.row.records === undefined ? null : Number(s.row.records)),
  left: (s) => -(s.left ?? Number.POSITIVE_INFINITY),
  parts: (s) => s.row.partitions,
  readers: (s) => number(s.worst?.seconds),
  written: (s) => number(s.row.last_write ? Date.parse(s.row.last_write) : null),
}

export type Show = 'all' | 'look' | 'unread' | 'unowned' | 'unknown'
const allShows: readonly Show[] = ['all', 'look', 'unread', 'unowned', 'unknown']

/** All topics as they were judged, and the orders that were asked for. */
export class Topics {
  readonly all: readonly Seen[]
  readonly owners: readonly string[]
  readonly internal: readonly Seen[]
  readonly counts: Record<Show, number>
  readonly rows: TopicRows
  readonly onMap: ReadonlyMap<string, Reader[]>
  readonly #orders = new Map<Sort, readonly Seen[]>()

  /** Of the same rows only what is on the map, now or before, is judged again: the map moves every second. */
  constructor(rows: TopicRows, onMap: ReadonlyMap<string, Reader[]>, now: number, before: Topics | null = null) {
    this.rows = rows
    this.onMap = onMap
    if (before?.rows === rows && before.onMap.size === 0 && onMap.size === 0) {
      this.all = before.all
      this.owners = before.owners
      this.internal = before.internal
      this.counts = before.counts
      this.#orders = before.#orders
      return
    }
    const same = before?.rows === rows ? before : null
    // Where nobody is said to own anything, it says nothing that a topic has no owner.
    const owned = rows.items.some((r) => r.owner)
    this.all = rows.items.map((r, i) => {
      const readers = onMap.get(r.topic)
      const old = readers || same?.onMap.has(r.topic) ? undefined : same?.all[i]
      return old ?? judge(r, rows, readers ?? [], owned, now)
    })
    this.owners = same?.owners ?? [...new Set(rows.items.flatMap((r) => (r.owner ? [r.owner] : [])))].sort(text)
    this.internal = this.all.filter((s) => s.part === 2)
    this.counts = { all: 0, look: 0, unread: 0, unowned: 0, unknown: 0 }
    for (const s of this.all) {
      if (s.part === 2) continue
      for (const show of allShows) if (shows(s, show)) this.counts[show]++
    }
  }

  order(sort: Sort): readonly Seen[] {
    let list = this.#orders.get(sort)
    if (!list) {
      list = sorted(this.all, sort)
      this.#orders.set(sort, list)
    }
    return list
  }
}

function shows(s: Seen, show: Show): boolean {
  switch (show) {
    case 'look':
      return s.part === 0
    case 'unread':
      return s.readers === 0
    case 'unowned':
      return !s.row.owner
    case 'unknown':
      return s.reasons.some((r) => r.kind === 'unknown')
    default:
      return true
  }
}

function sorted(all: readonly Seen[], sort: Sort): Seen[] {
  const byName = [...all].sort((a, b) => text(a.row.topic, b.row.topic))
  if (sort === 'topic') return byName
  if (sort === 'owner') return byName.sort((a, b) => text(a.row.owner || '\uffff', b.row.owner || '\uffff'))
  if (sort === 'look') {
    const rank = (s: Seen) => s.part * 10 + (s.reasons[0] ? kinds.indexOf(s.reasons[0].kind) : 0)
    return byName.sort((a, b) => rank(a) - rank(b) || s(b) - s(a))
  }
  const key = keys[sort]
  return byName.sort((a, b) => compare(key(b), key(a)))

  /** Of what is late, the longest first; nothing else moves with its readings. */
  function s(x: Seen): number {
    return x.reasons[0]?.kind === 'late' ? (x.worst?.seconds ?? 0) : 0
  }
}

const compare = (a: number, b: number) => (a === b ? 0 : a < b ? -1 : 1)

export interface Choice {
  filter: string
  show: Show
  owner: string
  sort: Sort
  /** The other way round. */
  up: boolean
  internal: boolean
}

/** A line of the list: a topic, or what stands over some. */
export type Line = Seen | { over: string; id: string }

export const isOver = (l: Line): l is Exclude<Line, Seen> => 'over' in l
export const lineID = (l: Line): string => (isOver(l) ? l.id : l.row.topic)

/** The lines for a choice, and how many topics are among them. Sorted by what needs a look, they stand in parts. */
export function lines(t: Topics, c: Choice): { lines: Line[]; found: number } {
  const words = c.filter.toLowerCase().split(/\s+/).filter(Boolean)
  const parts: [Seen[], Seen[], Seen[]] = [[], [], []]
  const grouped = c.sort === 'look'
  let list = t.order(c.sort)
  if (c.up && !grouped) list = list.toReversed()
  for (const s of list) {
    if (!shows(s, c.show) || (c.owner && s.row.owner !== c.owner) || !words.every((w) => s.hay.includes(w))) continue
    if (s.part === 2 && (c.show === 'look' || c.show === 'unowned')) continue
    parts[s.part === 2 ? 2 : grouped ? s.part : 0].push(s)
  }
  const [look, rest, internal] = parts
  const out: Line[] = []
  if (!grouped) out.push(...look)
  else {
    if (look.length) out.push({ over: `Need a look ${count(look.length)}`, id: '\0look' }, ...look)
    if (rest.length) out.push({ over: `Nothing to do ${count(rest.length)}`, id: '\0rest' }, ...rest)
  }
  if (internal.length && c.internal) out.push({ over: `Internal ${count(internal.length)}`, id: '\0internal' }, ...internal)
  return { lines: out, found: look.length + rest.length }
}

/** One reason of one topic, for a sentence. */
function phrase(kind: Kind, s: Seen, now: number): string {
  const name = visible(s.worst?.table ?? s.row.topic)
  const by = s.worst ? visible(s.worst.name) : ''
  switch (kind) {
    case 'lost':
      return `records of ${name} were gone before ${by} had read them`
    case 'late':
      return s.worst?.state === 'dead' && s.worst.seconds === null
        ? `nobody reads ${name} as ${by}`
        : `${name} is read ${s.worst?.seconds === null || !s.worst ? 'late' : `${about(s.worst.seconds)} late`} by ${by}`
    case 'retention':
      return (s.left ?? 0) <= 0
        ? `retention takes records of ${name} that ${by} has not read`
        : `the oldest record of ${name} that ${by} needs goes in ${duration(s.left ?? 0)}`
    case 'risk':
      return `${name} is read close to its objective by ${by}`
    case 'letters':
      return `${plural(Number(s.row.records), 'dead letter')} wait in ${name}`
    case 'unknown':
      return `${name} is not fully known`
    case 'unused':
      return `${name} is unused, written last ${duration((now - Date.parse(s.row.last_write ?? '')) / 1000)} ago`
    case 'owner':
      return `${name} has no owner`
  }
}

/** The same of several topics. */
function several(kind: Kind, n: number): string {
  switch (kind) {
    case 'lost':
      return `records of ${plural(n, 'topic')} were gone before they were read`
    case 'late':
      return `${plural(n, 'topic')} are read late`
    case 'retention':
      return `${plural(n, 'topic')} may lose what is not read`
    case 'risk':
      return `${plural(n, 'topic')} are close to an objective`
    case 'letters':
      return `${plural(n, 'topic')} hold dead letters`
    case 'unknown':
      return `${plural(n, 'topic')} are not fully known`
    case 'unused':
      return `${plural(n, 'topic')} are unused`
    case 'owner':
      return `${plural(n, 'topic')} have no owner`
  }
}

export interface Answer {
  state: State
  first: string
  rest: string
  details: string[]
}

const stateOf: Record<Kind, State> = {
  lost: 'late',
  late: 'late',
  retention: 'at_risk',
  risk: 'at_risk',
  letters: 'at_risk',
  unknown: 'unknown',
  unused: 'at_risk',
  owner: 'at_risk',
}

/** Characters that the first line has room for. */
const room = 104

/** Which topics need a look, and why. */
export function answer(t: Topics, now: number): Answer {
  const those = t.order('look').filter((s) => s.part === 0)
  const by = kinds.flatMap((kind) => {
    const has = those.filter((s) => s.reasons.some((r) => r.kind === kind))
    return has[0] ? [{ kind, first: has[0], n: has.length }] : []
  })
  const [a, b] = by
  const total = plural(t.counts.all, 'topic')
  if (!a) {
    const slowest = t.all.reduce<Seen | null>((m, s) => ((s.worst?.seconds ?? -1) > (m?.worst?.seconds ?? -1) ? s : m), null)
    const rest =
      slowest?.worst?.seconds !== undefined && slowest.worst.seconds !== null
        ? `The latest reader, ${visible(slowest.worst.name)} of ${visible(slowest.worst.table ?? slowest.row.topic)}, is ${about(slowest.worst.seconds)} behind.`
        : ''
    return { state: 'on_time', first: `None of ${total} needs a look.`, rest, details: [] }
  }
  const lead = `${count(those.length)} of ${total} need${those.length === 1 ? 's' : ''} a look: ${phrase(a.kind, a.first, now)}`
  const second = b ? `, and ${phrase(b.kind, b.first, now)}` : ''
  const both = lead.length + second.length <= room
  const details = by.flatMap(({ kind, first, n }, i) =>
    i < (both ? 2 : 1) ? (n > 1 ? [several(kind, n)] : []) : [n > 1 ? several(kind, n) : phrase(kind, first, now)],
  )
  return {
    state: stateOf[a.kind],
    first: `${lead}${both ? second : ''}.`,
    rest: '',
    details,
  }
}

/** Why a topic's cell is marked, in a few words. */
export function reasonWords(kind: Kind, s: Seen, now: number): string {
  switch (kind) {
    case 'unused':
      return `unused for ${duration((now - Date.parse(s.row.last_write ?? '')) / 1000)}`
    case 'letters':
      return plural(Number(s.row.records), 'letter')
    case 'owner':
      return 'no owner'
    default:
      return phrase(kind, s, now)
  }
}
