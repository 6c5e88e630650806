import type { MapData, State } from '../api/types'
import { clusterOf } from '../history'
import { isLate } from '../map/words'
import { about, known, short } from '../text/format'
import { visible } from '../text/visible'
import type { Reader } from './rows'

/** How a topic is written, as the map has it: on time, and how long after the commit; or that it is not captured by us. */
export function writing(map: MapData | null, cluster: string, topic: string, by = ''): { state: State; words: string } {
  const node = map?.nodes.find((n) => n.lane === 'topic' && n.ref === topic && clusterOf(n) === cluster)
  const edge = map?.edges.find((e) => e.to === node?.id && e.from.startsWith('source:'))
  if (!node) return { state: 'unknown', words: 'how late it is written is not known: no source of ours writes it' }
  const from = by || edge?.from.slice('source:'.length) || ''
  if (!edge)
    return { state: node.rate?.value === 0 ? 'idle' : 'unknown', words: 'how late it is written is not known: no source of ours writes it' }
  if (!known(edge.delay))
    return { state: edge.state, words: `written from ${from}, how late is not known${edge.delay?.why ? `: ${edge.delay.why}` : ''}` }
  return { state: edge.state, words: `written ${isLate(edge.state) ? 'late' : 'on time'}, ${short(edge.delay)} after commit` }
}

/** How one topic is, in a sentence: how late it is written, and how late it is read. */
export function topicAnswer(written: { state: State; words: string }, readers: readonly Reader[] | null): { state: State; first: string } {
  const w = visible(written.words)
  if (readers === null) return { state: 'unknown', first: `${cap(w)}; who reads it is being read.` }
  const late = readers.filter((r) => isLate(r.state))
  const [worst] = late.length ? late : readers
  if (!worst) return { state: written.state, first: `${cap(w)}; no group and no sink reads it.` }
  const name = visible(worst.name)
  if (late.length) {
    const rest = readers.length - late.length
    return {
      state: worst.state,
      first: `Read ${worst.seconds === null ? 'late' : `${about(worst.seconds)} late`} by ${name}${late.length > 1 ? ` and ${late.length - 1} more` : ''}${rest ? `, on time by ${rest}` : ''}; ${w}.`,
    }
  }
  const behind = worst.seconds === null ? `${name} by an unknown time` : `${name}, ${about(worst.seconds)} behind`
  return {
    state: worst.state === 'idle' ? written.state : worst.state,
    first: `${cap(w)}; the latest of ${readers.length} ${readers.length === 1 ? 'reader' : 'readers'} is ${behind}.`,
  }
}

const cap = (s: string) => s.charAt(0).toUpperCase() + s.slice(1)
