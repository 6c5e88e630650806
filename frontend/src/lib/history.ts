import type { Query } from './api/client'
import type { History, MapNode, MapPath } from './api/types'
import { type Detail, following } from './detail.svelte'
import { readRange } from './nav/range'
import type { Page } from './page.svelte'

/** The cluster that a topic or a group is in: a node of another than the bundled broker has its name in the id. */
export function clusterOf(n: Pick<MapNode, 'id' | 'lane' | 'ref'>): string {
  const rest = n.id.slice(n.lane.length + 1)
  return rest.endsWith(`/${n.ref}`) ? rest.slice(0, -n.ref.length - 1) : 'embedded'
}

/** The cluster of a topic of the map. */
export function clusterOfTopic(name: string, nodes: readonly MapNode[]): string {
  const topic = nodes.find((n) => n.lane === 'topic' && n.ref === name)
  return topic ? clusterOf(topic) : 'embedded'
}

/** Which series tells how a path did over time. */
export function pathSeries(p: MapPath, nodes: readonly MapNode[]): Query {
  const [kind, name] = split(p.to)
  const end = kind === 'topic' ? {} : { [kind]: name }
  return {
    metric: 'freshness_seconds',
    cluster: clusterOfTopic(p.topic, nodes),
    source: p.source,
    topic: p.topic,
    ...end,
    hop: 'total',
  }
}

/** Which series tells of a node whose paths do not say it all. */
export function nodeSeries(n: Pick<MapNode, 'id' | 'lane' | 'ref'>): { query: Query; words: string } | null {
  switch (n.lane) {
    case 'topic':
      return { query: { metric: 'topic_records_per_second', cluster: clusterOf(n), topic: n.ref }, words: 'Records written a second' }
    case 'group':
      return { query: { metric: 'lag_records', cluster: clusterOf(n), group: n.ref }, words: 'Records not read yet' }
    default:
      return null
  }
}

/** A series over a time range. */
export function over(q: Query, r: { from: number; to: number }, max = 400): Query {
  return { ...q, from: new Date(r.from).toISOString(), to: new Date(r.to).toISOString(), max }
}

/** How often, in ms, a series of that range is worth reading again. */
export function refresh(r: { from: number; to: number; fixed: boolean }): number {
  return r.fixed ? 60_000 : Math.min(60_000, Math.max(5_000, (r.to - r.from) / 400))
}

/** What a series over the page's time range is asked by: the range's name moves, its bounds do not. */
export function seriesOf(page: Page, name: string, query: () => Query | null): { readonly now: Detail<History> | null } {
  return following(
    name,
    () => {
      const q = query()
      return q && { q, range: page.time.id }
    },
    ({ q, range }, signal) => page.api.get<History>('/history', over(q, readRange(range, Date.now())), signal),
    ({ range }) => refresh(readRange(range, Date.now())),
  )
}

function split(id: string): [string, string] {
  const i = id.indexOf(':')
  return [id.slice(0, i), id.slice(i + 1)]
}
