import type { Group, GroupPartition, Reading, State } from '../api/types'
import { order } from '../map/words'
import { about, best, clock, count, known, plural, short } from '../text/format'
import { visible } from '../text/visible'

/** An answer to a screen's question: the sentence, how the rest is, and why. */
export interface Said {
  state: State | null
  first: string
  rest: string
  details: string[]
}

export type Kind = 'all' | 'behind' | 'empty' | 'unknown'

export const kinds: Record<Kind, string> = { all: 'All', behind: 'Behind', empty: 'No members', unknown: 'Unknown' }

export function isKind(g: Group, kind: Kind): boolean {
  switch (kind) {
    case 'behind':
      return g.health === 'late' || g.health === 'dead' || g.health === 'at_risk'
    case 'empty':
      return g.members === 0
    case 'unknown':
      return g.health === 'unknown'
    default:
      return true
  }
}

/** Whether a group is meant by a filter: words that are all in its name, its topics, its state or its verdict. */
export function matches(g: Group, filter: string): boolean {
  const text = [g.group, ...g.topics, g.state, g.verdict].join('\n').toLowerCase()
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every((w) => text.includes(w))
}

export type Sort = 'state' | 'name' | 'members' | 'records' | 'seconds' | 'caught' | 'rate'

export const sorts: Record<Sort, string> = {
  state: 'worst first',
  name: 'name',
  members: 'members',
  records: 'records',
  seconds: 'seconds',
  caught: 'caught up in',
  rate: 'rate',
}

const number = (r: Reading | null | undefined) => best(r) ?? Number.NEGATIVE_INFINITY
const byName = (a: Group, b: Group) => (a.group < b.group ? -1 : a.group > b.group ? 1 : 0)

/** What each order begins with, and what it is by. */
const by: Record<Sort, (a: Group, b: Group) => number> = {
  state: (a, b) => order.indexOf(b.health) - order.indexOf(a.health) || number(a.lag.seconds) - number(b.lag.seconds),
  name: (a, b) => -byName(a, b),
  members: (a, b) => a.members - b.members,
  records: (a, b) => number(a.lag.records) - number(b.lag.records),
  seconds: (a, b) => number(a.lag.seconds) - number(b.lag.seconds),
  caught: (a, b) => number(a.caught_up_in) - number(b.caught_up_in),
  rate: (a, b) => number(a.rate_out) - number(b.rate_out),
}

/** Groups in an order; the most first where down, and those without a reading last. */
export function arranged(groups: readonly Group[], sort: Sort, down: boolean): Group[] {
  const sign = down ? -1 : 1
  return [...groups].sort((a, b) => compare(a, b, sort) * sign || byName(a, b))
}

function compare(a: Group, b: Group, sort: Sort): number {
  const d = by[sort](a, b)
  // Two that are both without a reading are equal, not NaN.
  return Number.isNaN(d) ? 0 : d
}

/** "42 s", "at least 30 s", or how many records, where the seconds are not known. */
export function behind(g: Pick<Group, 'lag'>): string {
  const { seconds, records } = g.lag
  if (known(seconds)) return seconds.value === null ? short(seconds) : about(seconds.value)
  return known(records) ? short(records).replace(/ rec$/, ' records') : 'an unknown time'
}

/** ", and catching up: done in about 3 min". */
export function direction(g: Group): string {
  if (known(g.caught_up_in) && (best(g.caught_up_in) ?? 0) > 0) return ` and catching up: done in about ${about(best(g.caught_up_in) ?? 0)}`
  return g.trend === 'falling' ? ' and catching up' : g.trend === 'rising' ? ' and falling further behind' : ''
}

/** Which group is behind, by how much, and is it getting better. */
export function answerOf(groups: readonly Group[]): Said {
  if (!groups.length) return { state: null, first: 'No consumer group is known in this cluster.', rest: '', details: [] }
  const worst = arranged(
    groups.filter((g) => isKind(g, 'behind')),
    'state',
    true,
  )
  const [first] = worst
  const unknown = groups.filter((g) => g.health === 'unknown')
  const fine = groups.length - worst.length - unknown.length
  const others = [
    worst.length > 1 ? `${plural(worst.length - 1, 'other')} ${worst.length === 2 ? 'needs' : 'need'} a look` : '',
    fine ? `${count(fine)} ${fine === 1 ? 'keeps' : 'keep'} up` : '',
    unknown.length ? `${count(unknown.length)} unknown` : '',
  ].filter(Boolean)
  if (first) {
    const why = worst.slice(0, 1).map((g) => visible(g.verdict))
    const gone =
      first.health === 'dead'
        ? `Nobody reads as ${visible(first.group)}: it is ${behind(first)} behind`
        : `${visible(first.group)} is ${behind(first)} behind`
    return { state: first.health, first: `${gone}${direction(first)}.`, rest: sentence(others), details: why }
  }
  if (fine) {
    const [most] = arranged(groups, 'seconds', true)
    const details =
      most && known(most.lag.seconds)
        ? [`Furthest of ${plural(groups.length, 'group')}: ${visible(most.group)}, ${short(most.lag.seconds)}`]
        : []
    return {
      state: 'on_time',
      first: unknown.length ? 'No group that can be read is behind.' : 'No group is behind.',
      rest: unknown.length ? `${count(unknown.length)} unknown.` : '',
      details,
    }
  }
  return {
    state: 'unknown',
    first: `How far ${groups.length === 1 ? 'the group is' : 'the groups are'} behind is unknown.`,
    rest: '',
    details: [visible(unknown[0]?.verdict ?? '')],
  }
}

/** How far behind one group is, on which topic most, and when it is done. */
export function answerOfOne(g: Group, now: number): Said {
  const name = visible(g.group)
  const worst = worstPartitions(g)
  const [most] = worst
  const on = g.topics.length > 1 && most ? ` on ${visible(shortTopic(most.topic))}` : ''
  const details = [
    ...rates(g),
    ...(most && worst.length < (g.partitions?.length ?? 0) ? [latest(g, worst)] : []),
    ...(g.stable_since ? [`${g.state.toLowerCase()} since ${clock(g.stable_since, now)}`] : []),
  ]
  if (g.health === 'unknown')
    return { state: 'unknown', first: `How far ${name} is behind is unknown.`, rest: '', details: [visible(g.verdict), ...details] }
  if (!isKind(g, 'behind')) {
    const waits = best(g.lag.records) ?? 0
    const first = waits > 0 ? `${name} keeps up: ${behind(g)} behind${on}.` : `${name} has read everything.`
    return { state: g.health, first, rest: g.members ? '' : 'It has no members now.', details }
  }
  const eta = best(g.caught_up_in)
  const done = eta ? `: done at about ${clock(now + eta * 1000, now)}` : ''
  const way = done || g.trend === 'falling' ? ` and catching up${done}` : g.trend === 'rising' ? ' and falling further behind' : ''
  const first = g.members ? `${name} is ${behind(g)} behind${on}${way}.` : `Nobody reads as ${name}: it is ${behind(g)} behind${on}${way}.`
  return { state: g.health, first, rest: '', details: [...details, visible(g.verdict)] }
}

function rates(g: Group): string[] {
  const [out, into] = [best(g.rate_out), best(g.rate_in)]
  if (out === null || into === null) return []
  return [`It reads ${short(g.rate_out)} and ${short(g.rate_in)} arrive`]
}

/** The partitions that are about as late as the latest. */
export function worstPartitions(g: Group): GroupPartition[] {
  const seconds = (p: GroupPartition) => best(p.lag.seconds) ?? 0
  const parts = g.partitions ?? []
  const most = Math.max(0, ...parts.map(seconds))
  return most > 0 ? parts.filter((p) => seconds(p) >= most * 0.9).sort((a, b) => seconds(b) - seconds(a)) : []
}

function latest(g: Group, worst: GroupPartition[]): string {
  const held = new Set(worst.map((p) => p.member ?? ''))
  const [member] = held
  const who = held.size === 1 && member ? `, held by ${visible(memberName(g, member))}` : ''
  return `Latest on partition${worst.length === 1 ? '' : 's'} ${spans(worst.map((p) => p.partition))}${who}`
}

/** What a member is called: its client's name where it has one. */
export function memberName(g: Pick<Group, 'member_list'>, id: string): string {
  return g.member_list?.find((m) => m.id === id)?.client_id || id
}

/** "0 to 3, 7". */
export function spans(numbers: readonly number[]): string {
  const sorted = [...new Set(numbers)].sort((a, b) => a - b)
  const out: string[] = []
  for (let i = 0; i < sorted.length; ) {
    let k = i
    while (sorted[k + 1] === (sorted[k] ?? 0) + 1) k++
    out.push(k > i ? `${sorted[i]}${k === i + 1 ? ',' : ' to'} ${sorted[k]}` : `${sorted[i]}`)
    i = k + 1
  }
  return out.length > 6 ? `${out.slice(0, 6).join(', ')} and more` : out.join(', ')
}

/** The last part of a captured topic's name, which tells it apart. */
export const shortTopic = (t: string): string => t.slice(t.lastIndexOf('.') + 1) || t

function sentence(parts: string[]): string {
  const text = parts.join(', ')
  return text ? `${text.charAt(0).toUpperCase()}${text.slice(1)}.` : ''
}
