import type { Query } from '../api/client'
import { Obj, readJson, writeJson } from '../json/json'
import type { Nav } from '../nav/nav.svelte'
import type { TimeRange } from '../nav/range'
import { type Place, readPlace } from './records'

export const places = { newest: 'Newest', oldest: 'Oldest', offset: 'Offset', time: 'Timestamp', live: 'Live' } as const
export type Where = keyof typeof places

/** Which records are asked for, as the link says it. */
export interface Ask {
  topic: string
  cluster: string
  where: Where
  /** Of offset. */
  place: Place | null
  /** Of time: RFC 3339. */
  time: string
  /** Only these; none: all. */
  partitions: readonly number[]
  filter: string
  key: string
  /** The key's exact bytes, where they are no text. */
  key64: string
  /** Whether a key is looked for in all partitions, and not only in that where producers put it. */
  everywhere: boolean
  /** The page's time range where it is fixed, else ''. */
  since: string
  until: string
}

export function readAsk(nav: Nav, time: TimeRange, topic: string, cluster: string): Ask {
  const from = nav.get('from')
  const place = readPlace(from)
  const isTime = !place && !Object.hasOwn(places, from) && !Number.isNaN(Date.parse(from))
  return {
    topic,
    cluster,
    where: place ? 'offset' : isTime ? 'time' : from === 'oldest' || from === 'live' ? from : 'newest',
    place,
    time: isTime ? from : '',
    partitions: [
      ...new Set(
        nav
          .all('p')
          .filter((p) => /^\d{1,9}$/.test(p))
          .map(Number),
      ),
    ],
    filter: nav.get('filter'),
    key: nav.get('key'),
    key64: nav.get('key64'),
    everywhere: nav.get('look') === 'all',
    since: time.fixed ? new Date(time.from).toISOString() : '',
    until: time.fixed ? new Date(time.to).toISOString() : '',
  }
}

export const selects = (a: Ask): boolean => a.filter !== '' || a.key !== '' || a.key64 !== ''

/**
 * The parameters that say which records are meant. An offset is where reading begins; it needs no bounds in time, since
 * a person who names one wants to see it.
 */
export function selection(a: Ask, exactKey: string | null = null): Query {
  const one = exactKey !== null && !a.everywhere
  const q: Query = {
    cluster: a.cluster,
    partitions: a.partitions.join(','),
    filter: a.filter,
    key: one ? exactKey : a.key,
    key_base64: a.key64,
    one_partition: one || (a.key64 !== '' && !a.everywhere) ? 'true' : undefined,
  }
  if (a.where === 'offset' && a.place) return { ...q, at: `${a.place.partition}:${a.place.offset}`, partitions: '' }
  return { ...q, from: (a.where === 'time' ? a.time : a.since) || 'oldest', until: a.until }
}

/**
 * The bytes that a producer made of a key which a person typed, told from another key of the topic: a topic whose keys
 * are {"id":16} has {"id":17}. null where that cannot be told.
 */
export function keyAsProduced(sample: string | undefined, typed: string): string | null {
  if (sample === undefined) return null
  if (!sample.startsWith('{') || typed.trimStart().startsWith('{')) return typed
  try {
    const v = readJson(sample)
    if (!(v instanceof Obj) || v.members.length !== 1 || writeJson(v) !== sample) return null
    const [name, value] = v.members[0] ?? []
    if (name === undefined || value instanceof Obj || Array.isArray(value)) return null
    return `{${JSON.stringify(name)}:${typeof value === 'string' ? JSON.stringify(typed) : typed}}`
  } catch {
    return null
  }
}

/** What a place means in a sentence. */
export const orderWord: Record<Where, string> = {
  newest: 'newest first',
  oldest: 'oldest first',
  offset: 'from the offset on',
  time: 'from the time on',
  live: 'as they arrive',
}
