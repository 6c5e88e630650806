import type { MapData, MapPath, Sink, SinkSpec, State } from '../api/types'
import { sorted } from '../map/answer'
import { isLate, order } from '../map/words'
import { about, best, count, known, plural } from '../text/format'
import { visible } from '../text/visible'

export interface Fed {
  sink: Sink
  state: State
  /** The path into it that is furthest behind; null where none is measured. */
  worst: MapPath | null
  paths: MapPath[]
}

/** A sink with what the map knows of the ways into it. */
export function fed(sink: Sink, map: MapData | null): Fed {
  const paths = map ? sorted(map.paths.filter((p) => p.to === `sink:${sink.name}`)) : []
  const node = map?.nodes.find((n) => n.id === `sink:${sink.name}`)
  const slowest = [...paths].sort((a, b) => (best(b.total) ?? -1) - (best(a.total) ?? -1))[0] ?? null
  const [first] = paths
  const own: State =
    ({ running: 'on_time', paused: 'paused', retrying: 'at_risk', place: 'idle' }[sink.state] as State | undefined) ?? 'dead'
  return {
    sink,
    state: sink.state === 'running' ? (node?.state ?? own) : own,
    worst: first && isLate(first.state) ? first : slowest,
    paths,
  }
}

const worstFirst = (a: Fed, b: Fed) =>
  order.indexOf(a.state) - order.indexOf(b.state) ||
  (best(b.worst?.total) ?? -1) - (best(a.worst?.total) ?? -1) ||
  (a.sink.name < b.sink.name ? -1 : 1)

export const arranged = (all: readonly Fed[]): Fed[] => [...all].sort(worstFirst)

const way = (p: MapPath) => visible(p.path.split(' → ')[0] ?? p.table)

/** "warehouse is 42 s behind with orders, and catching up: about 3 min to go". */
export function behind(f: Fed): string {
  const name = visible(f.sink.name)
  const why = f.sink.why ? `: ${visible(f.sink.why).replace(/[.\s]+$/, '')}` : ''
  const seconds = best(f.worst?.total)
  const far = seconds === null || !f.worst ? '' : `${about(seconds)} behind with ${way(f.worst)}`
  const eta = best(f.worst?.eta)
  const trend =
    f.worst?.trend === 'rising'
      ? ', and falling further behind'
      : f.worst?.trend === 'falling'
        ? `, and catching up${eta === null ? '' : `: about ${about(eta)} to go`}`
        : ''
  switch (f.sink.state) {
    case 'place':
      return `${name} is only a place to replay to`
    case 'paused':
      return `${name} is paused${why}${far ? `, ${far}` : ''}`
    case 'retrying':
      return `${name} does not take what is sent${why}${far ? `; ${far}` : ''}`
    case 'running':
      return far
        ? `${name} is ${far}${isLate(f.state) || f.state === 'at_risk' ? trend : ''}`
        : `how far ${name} is behind is not known${f.worst?.total.why ? `: ${visible(f.worst.total.why)}` : ''}`
    default:
      return `${name} has ${visible(f.sink.state)}${why}${far ? `; ${far}` : ''}`
  }
}

/** Which sink is behind, and by how much? */
export function answer(all: readonly Fed[]): { state: State; first: string; rest: string; details: string[] } {
  const list = arranged(all)
  const running = list.filter((f) => f.sink.state !== 'place')
  const parked = list.filter((f) => f.sink.parked !== '0' && f.sink.parked !== '')
  const set = parked.reduce((n, f) => n + BigInt(f.sink.parked), 0n)
  const details = [
    set > 0n
      ? `${count(`${set}`)} ${set === 1n ? 'record is' : 'records are'} parked, at ${parked
          .map((f) => visible(f.sink.name))
          .slice(0, 3)
          .join(', ')}`
      : '',
    running.length < list.length ? `${plural(list.length - running.length, 'place')} to replay to` : '',
  ].filter(Boolean)
  const [worst] = running
  if (!list.length) return { state: 'idle', first: 'Nothing is delivered anywhere yet: there is no sink.', rest: '', details: [] }
  if (!worst) return { state: 'idle', first: `Nothing is fed: ${plural(list.length, 'sink')}, only to be replayed to.`, rest: '', details }
  const bad = running.filter((f) => f.state !== 'on_time' && f.state !== 'idle')
  if (bad.length) {
    const fine = running.length - bad.length
    return {
      state: worst.state,
      first: `${behind(worst)}.`,
      rest:
        bad.length > 1
          ? `${plural(bad.length - 1, 'other')} ${bad.length === 2 ? 'needs' : 'need'} a look.`
          : fine
            ? 'The rest is on time.'
            : '',
      details,
    }
  }
  const slowest = running.reduce((m, f) => ((best(f.worst?.total) ?? -1) > (best(m.worst?.total) ?? -1) ? f : m))
  const first = running.length === 1 ? 'It is on time' : 'No sink is late'
  return {
    state: 'on_time',
    first: known(slowest.worst?.total) ? `${first}: ${behind(slowest)}.` : `${first}.`,
    rest: '',
    details,
  }
}

/** What creating a sink does to its target, said before. */
export function effects(s: Pick<SinkSpec, 'type' | 'mode' | 'topics' | 'from' | 'no_create_tables'>): string[] {
  const topics = s.topics ?? []
  const all = topics.length > 0
  const out: string[] = []
  if (s.type === 'postgres') {
    out.push(
      'makes the schema freshet with one table, progress, and writes into it in the same transaction as the rows: each record is in there once',
    )
    out.push(
      s.no_create_tables
        ? 'makes no table: a record whose table is missing stops the sink with what to do'
        : 'makes the tables, and schemas, that are missing, with the columns of the source; each statement is in the audit history',
    )
    out.push(
      s.mode === 'append'
        ? 'adds a row for every change, and never changes or deletes one'
        : 'inserts, updates and deletes rows by their key, so that the tables become what the source’s are; rows of those keys are overwritten',
    )
  } else if (s.type === 'kafka') {
    out.push(
      'writes each record, with its key, value and headers, to the topic of the same name there, and makes the topics that are missing',
      'writes in transactions with its progress, which it keeps in the topic __freshet.progress there: whoever reads committed sees each record once',
    )
  } else {
    out.push(
      'sends one POST for each record, in order for each partition, with an id by which the receiver can tell a repeat',
      'a record that is refused for good (status 4xx) is parked with the reason, and the sink goes on',
    )
  }
  out.push(
    all
      ? `begins ${s.from === 'latest' ? 'with what is written from now on' : 'with the oldest record that is held'}, and goes on until it is paused`
      : 'writes nothing by itself: it is a place to replay to',
  )
  return out
}
