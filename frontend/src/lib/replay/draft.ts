import type { PlanSpec } from '../api/types'
import { type Change, pick, type Query } from '../nav/route'
import { shellWord } from '../text/visible'

// A replay before it is frozen. All of it is in the query, so that a link or Back brings it back:
// ?source=CLUSTER/TOPIC&since=…&until=… or &offsets=P:FROM-TO (several) or &all=TOPIC, &filter &key &header &on_error,
// &to=SINK/TARGET, &rate &max &title &reason &overlap=yes.

export type By = 'time' | 'offsets' | 'topic'
export type OnError = 'stop' | 'dlq' | 'drop'

export interface Draft {
  cluster: string
  topic: string
  by: By
  /** RFC 3339; of until, '' is the moment the plan is frozen. */
  since: string
  until: string
  /** PARTITION:FROM-TO, TO not included; an empty TO is the partition's end. */
  offsets: readonly string[]
  /** The topic's name, typed by who means all of it. */
  all: string
  filter: string
  key: string
  header: string
  onError: OnError
  sink: string
  target: string
  rate: string
  max: string
  title: string
  reason: string
  overlap: boolean
}

export const onErrors: Record<OnError, { word: string; means: string }> = {
  stop: { word: 'Stop', means: 'the job is blocked there until a person looks' },
  dlq: { word: 'Set aside', means: 'its place and the reason are kept with the job, and the rest goes on' },
  drop: { word: 'Leave out', means: 'it counts as filtered, and the rest goes on' },
}

const bys: Record<By, string> = { time: '', offsets: '', topic: '' }

/** CLUSTER/TOPIC apart: cluster names have no slash. */
function cut(s: string): [string, string] {
  const i = s.indexOf('/')
  return i < 0 ? [s, ''] : [s.slice(0, i), s.slice(i + 1)]
}

/** usual is the time that is meant where the query says none. */
export function readDraft(q: Query, usual: { since: string; until: string }): Draft {
  const one = (name: string) => q[name]?.[0] ?? ''
  const [cluster, topic] = cut(one('source'))
  const [sink, target] = cut(one('to'))
  const offsets = q.offsets ?? []
  const timed = q.since !== undefined || q.until !== undefined
  return {
    cluster: cluster || 'embedded',
    topic,
    by: pick(one('by'), bys, offsets.length ? 'offsets' : q.all ? 'topic' : 'time'),
    since: timed ? one('since') : usual.since,
    until: timed ? one('until') : usual.until,
    offsets,
    all: one('all'),
    filter: one('filter'),
    key: one('key'),
    header: one('header'),
    onError: pick(one('on_error'), onErrors, 'stop'),
    sink,
    target,
    rate: one('rate'),
    max: one('max'),
    title: one('title'),
    reason: one('reason'),
    overlap: one('overlap') === 'yes',
  }
}

/** What a change of the draft is in the query. */
export function draftChange(d: Partial<Draft>, whole: Draft): Change {
  const c: Change = {}
  const has = (k: keyof Draft) => Object.hasOwn(d, k)
  const next = { ...whole, ...d }
  if (has('cluster') || has('topic')) c.source = `${next.cluster}/${next.topic}`
  if (has('sink') || has('target')) c.to = next.sink && (next.target ? `${next.sink}/${next.target}` : next.sink)
  if (has('by')) c.by = next.by
  // An empty end is "now", and must stay apart from a time that was not chosen at all.
  if (has('since') || has('until')) Object.assign(c, { since: next.since, until: next.until })
  if (has('onError')) c.on_error = next.onError === 'stop' ? '' : next.onError
  if (has('overlap')) c.overlap = next.overlap ? 'yes' : ''
  for (const k of ['offsets', 'all', 'filter', 'key', 'header', 'rate', 'max', 'title', 'reason'] as const) if (has(k)) c[k] = next[k]
  return c
}

export interface OffsetRange {
  partition: number
  from: bigint
  /** null: the partition's end. */
  to: bigint | null
}

/** Reads PARTITION:FROM-TO; null where it is none. */
export function readOffsets(s: string): OffsetRange | null {
  const [, p = '', from = '', to = ''] = /^(\d{1,9}):(\d{1,19})-(\d{0,19})$/.exec(s) ?? []
  if (!p) return null
  const r = { partition: Number(p), from: BigInt(from), to: to ? BigInt(to) : null }
  return r.to !== null && r.to < r.from ? null : r
}

export type Step = 'range' | 'shape' | 'sink'

/** What keeps a step from being done, in words; '' where nothing does. */
export function missing(d: Draft, step: Step): string {
  switch (step) {
    case 'range': {
      if (!d.topic) return 'choose a topic'
      if (d.by === 'topic') return d.all === d.topic ? '' : 'type the topic’s name'
      if (d.by === 'offsets') {
        if (!d.offsets.length) return 'choose a partition'
        const bad = d.offsets.find((o) => !readOffsets(o))
        return bad ? `${bad} is no range` : ''
      }
      const [since, until] = [Date.parse(d.since), d.until ? Date.parse(d.until) : Number.POSITIVE_INFINITY]
      if (Number.isNaN(since)) return 'say from when'
      if (Number.isNaN(until)) return 'the end is no time'
      return since < until ? '' : 'the range ends before it begins'
    }
    case 'shape':
      if (d.header && !/^[^=]+=/.test(d.header)) return 'write the header as NAME=VALUE'
      if (d.rate && !positive(d.rate)) return 'the rate is a number of records a second'
      return d.max && !positive(d.max) ? 'the most is a number of records' : ''
    case 'sink':
      return d.sink ? '' : 'choose a sink'
  }
}

const positive = (s: string) => /^[1-9]\d{0,14}$/.test(s)

/** The draft as the API takes it. */
export function toSpec(d: Draft): PlanSpec {
  const spec: PlanSpec = { source: `${d.cluster}/${d.topic}`, to: d.target ? `${d.sink}/${d.target}` : d.sink }
  if (d.by === 'topic') spec.all = true
  else if (d.by === 'offsets') spec.offsets = [...d.offsets]
  else {
    spec.since = d.since
    if (d.until) spec.until = d.until
  }
  if (d.filter) spec.filter = d.filter
  if (d.key) spec.key = d.key
  if (d.header) spec.header = d.header
  if (d.onError !== 'stop') spec.on_error = d.onError
  if (d.rate) spec.rate = Number(d.rate)
  if (d.max) spec.max_records = Number(d.max)
  if (d.title) spec.title = d.title
  if (d.reason) spec.reason = d.reason
  if (d.overlap) spec.allow_overlap = true
  return spec
}

/** The command that plans the same. */
export function planCommand(d: Draft): string {
  const words = ['freshet replay plan', '--source', shellWord(`${d.cluster}/${d.topic}`)]
  const flag = (name: string, value: string) => {
    if (value) words.push(name, shellWord(value))
  }
  if (d.by === 'topic') flag('--all-of-topic', d.all || d.topic)
  else if (d.by === 'offsets') flag('--offsets', d.offsets.join(','))
  else {
    flag('--since', d.since)
    flag('--until', d.until)
  }
  flag('--filter', d.filter)
  flag('--key', d.key)
  flag('--header', d.header)
  if (d.onError !== 'stop') flag('--on-error', d.onError)
  flag('--to', d.target ? `${d.sink}/${d.target}` : d.sink)
  flag('--rate', d.rate && `${d.rate}/s`)
  flag('--max-records', d.max)
  flag('--title', d.title)
  flag('--reason', d.reason)
  if (d.overlap) words.push('--allow-overlap')
  words.push('--dry-run', '--sample', '20')
  return words.join(' ')
}
