import type { Lane, State, Trend } from '../api/types'

/** Worst first. */
export const order: readonly State[] = ['dead', 'late', 'at_risk', 'unknown', 'paused', 'idle', 'on_time']

export const stateWord: Record<State, string> = {
  on_time: 'on time',
  at_risk: 'at risk',
  late: 'late',
  idle: 'idle',
  paused: 'paused',
  unknown: 'unknown',
  dead: 'dead',
}

export const stateMeaning: Record<State, string> = {
  on_time: 'inside its objective',
  at_risk: 'close to its objective',
  late: 'over its objective',
  idle: 'nothing to do',
  paused: 'stopped by a person',
  unknown: 'not measured, and why is said',
  dead: 'no sign of life: not answering, or nobody reads',
}

export const trendWord: Record<Trend, string> = {
  rising: 'growing',
  falling: 'falling',
  steady: 'steady',
  unknown: '',
}

export const lanes: readonly Lane[] = ['source', 'topic', 'group', 'sink']

export const laneWord: Record<Lane, { one: string; many: string; title: string }> = {
  source: { one: 'source', many: 'sources', title: 'Sources' },
  topic: { one: 'topic', many: 'topics', title: 'Topics' },
  group: { one: 'group', many: 'groups', title: 'Groups' },
  sink: { one: 'sink', many: 'sinks', title: 'Sinks' },
}

export function worse(a: State, b: State): State {
  return order.indexOf(a) <= order.indexOf(b) ? a : b
}

/** Over its objective, whether or not anybody still works on it. */
export function isLate(s: State): boolean {
  return s === 'late' || s === 'dead'
}

export function noteworthy(s: State): boolean {
  return s === 'late' || s === 'at_risk' || s === 'dead'
}

/**
 * What a hop is, in words. Its ends are `captured` or a kind with a name: `source:shop`, `topic:shop.public.orders`,
 * `group:billing`, `sink:warehouse`.
 */
export function hopWord(from: string, to: string): string {
  const end = to.slice(to.indexOf(':') + 1)
  switch (`${kindOf(from)}>${kindOf(to)}`) {
    case 'source>captured':
      return 'Commit to capture'
    case 'source>topic':
      return 'Commit to topic'
    case 'captured>topic':
      return 'Capture to topic'
    case 'topic>group':
    case 'topic>sink':
      return `Waiting for ${end}`
    case 'group>sink':
      return `From the group to ${end}`
    default:
      return `${from} to ${to}`
  }
}

function kindOf(end: string): string {
  const i = end.indexOf(':')
  const kind = i < 0 ? end : end.slice(0, i)
  return kind === 'commit' ? 'source' : kind
}
