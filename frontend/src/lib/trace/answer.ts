import type { State } from '../api/types'
import { count, duration } from '../text/format'
import { type HopRow, type Verdict, verdictOf } from './hops'
import { deletes, type Trace, type Version } from './trace'

export interface TraceWords {
  state: State
  first: string
  rest: string
}

/** What the screen says first: where the newest version got to, and where not. */
export function traceWords(row: string, t: Trace, rows: readonly HopRow[]): TraceWords {
  const newest = t.versions.at(-1)
  if (!newest) {
    const all = t.scans.every((s) => s.scan.stopped_because === 'end')
    return {
      state: 'unknown',
      first: `No change of ${row} was found`,
      rest: all ? 'in all that the log holds.' : 'in what was looked at, which is not all.',
    }
  }
  const ends = rows.filter((r) => r.kind === 'group' || r.kind === 'sink')
  const verdicts = new Map(t.held.map((h): [string, Verdict] => [`sink:${h.sink}`, verdictOf(h, t.versions)]))
  const wrong = ends.filter((r) => verdicts.get(r.id)?.wrong)
  const waiting = ends.filter((r) => r.state === 'waiting' && !wrong.includes(r))
  const unknown = ends.filter((r) => r.state === 'unknown' && !wrong.includes(r))
  const reached = ends.filter((r) => r.state === 'arrived' && !wrong.includes(r))
  const what = deletes(newest) ? `The deletion of ${row}` : row
  const said: string[] = []
  if (!ends.length) said.push(`${what} is in its topic; nobody that Freshet knows reads it`)
  else if (reached.length) said.push(`${what} reached ${names(reached)}${within(reached)}`)
  else if (!wrong.length && !unknown.length) said.push(`${what} is in its topic, and nobody has it yet`)
  for (const r of wrong) {
    const v = verdicts.get(r.id)
    if (v) said.push(`${r.name} ${holdsWord(v, newest, t, r)}`)
  }
  if (waiting.length && (reached.length || wrong.length))
    said.push(`${names(waiting)} ${waiting.length === 1 ? 'has' : 'have'} not got it yet`)
  if (unknown.length) said.push(`of ${names(unknown)} it is unknown`)
  const late = wrong.length > 0 || waiting.some((r) => r.late)
  const state: State = late ? 'late' : waiting.length ? 'at_risk' : unknown.length ? 'unknown' : ends.length ? 'on_time' : 'idle'
  const [first = what, ...more] = said
  return { state, first: `${first}${more.length ? '; ' : ''}${more.join('; ')}.`, rest: '' }
}

/** "still holds version 2", "holds another status". */
function holdsWord(v: Verdict, newest: Version, t: Trace, r: HopRow): string {
  const fields = t.held.find((h) => `sink:${h.sink}` === r.id)?.differs ?? []
  switch (v.state) {
    case 'left':
      return 'still holds it'
    case 'absent':
      return r.state === 'waiting' ? 'does not hold it yet' : 'does not hold it'
    case 'stale':
      return v.version && v.version !== newest ? `still holds version ${v.version.n} of ${newest.n}` : 'still holds an older version'
    default:
      return `holds another ${fields.slice(0, 3).join(', ') || 'row'}`
  }
}

function within(reached: readonly HopRow[]): string {
  const known = reached.filter((r) => r.seconds !== null)
  if (known.length < reached.length) return ''
  const most = Math.max(...known.map((r) => (r.loose ? (r.high ?? r.low) : (r.seconds ?? 0))))
  return ` within ${duration(most)}`
}

/** "a, b and c"; of many, the first and how many more. */
export function names(rows: readonly { name: string }[]): string {
  const all = rows.map((r) => r.name)
  if (all.length > 4) return `${all.slice(0, 3).join(', ')} and ${count(all.length - 3)} more`
  return all.length > 1 ? `${all.slice(0, -1).join(', ')} and ${all.at(-1)}` : (all[0] ?? '')
}

/** How much of the logs was looked at, and what stopped it. */
export function scanWords(t: Trace): string {
  return t.scans
    .map(({ topic, scan }) => {
      const took = scan.took_s !== undefined ? ` in ${duration(scan.took_s)}` : ''
      const why = scan.stopped_because === 'end' ? 'all that there is' : `stopped by ${stoppedWord(scan.stopped_because)}`
      return `${t.scans.length > 1 ? `${topic}: ` : ''}${count(scan.scanned)} records looked at${took}, ${why}`
    })
    .join(' · ')
}

export function stoppedWord(why: string): string {
  switch (why) {
    case 'limit':
      return 'the most versions that are shown'
    case 'records':
      return 'the most records that one question may read'
    case 'bytes':
      return 'the most bytes that one question may read'
    case 'time':
      return 'the time that one question may take'
    default:
      return why
  }
}
