import type { Counts, Job, JobShard, ReplayItem, State } from '../api/types'
import { count, duration } from '../text/format'
import { into } from './plan'

export interface Term {
  id: keyof Counts
  word: string
  means: string
  n: bigint
}

/** One side of the count equation: a total, and the terms that must come to it. */
export interface Side {
  total: Term
  terms: Term[]
  /** The total less its terms. */
  left: bigint
  /** open: what is left has not been looked at yet. */
  state: 'balances' | 'open' | 'broken'
}

const words: Record<keyof Counts, [word: string, means: string]> = {
  offsets: ['Offsets', 'of the range, as the plan froze it'],
  seen: ['Seen', 'records that were read'],
  control: ['Control', 'offsets that hold the markers of transactions'],
  aborted: ['Aborted', 'records of transactions that were rolled back'],
  compacted: ['Compacted', 'offsets whose records compaction took away'],
  lost: ['Lost', 'gone from the log before they were read, and accepted as lost by a person'],
  written: ['Written', 'the sink has them'],
  filtered: ['Filtered', 'not selected by the filter or the time range'],
  dlq: ['Set aside', 'refused by the sink for good, or not to be decoded'],
  in_doubt: ['In doubt', 'sent, and the answer never came'],
}

const term = (c: Counts, id: keyof Counts): Term => ({ id, word: words[id][0], means: words[id][1], n: BigInt(c[id]) })

function side(c: Counts, total: keyof Counts, terms: (keyof Counts)[], open: boolean): Side {
  const s = { total: term(c, total), terms: terms.map((t) => term(c, t)) }
  const left = s.terms.reduce((n, t) => n - t.n, s.total.n)
  return { ...s, left, state: left === 0n ? 'balances' : left > 0n && open ? 'open' : 'broken' }
}

/** The count equation. complete: the job says that it went through the whole range. */
export function equation(c: Counts, complete: boolean): [offsets: Side, seen: Side] {
  return [
    side(c, 'offsets', ['seen', 'control', 'aborted', 'compacted', 'lost'], !complete),
    side(c, 'seen', ['written', 'filtered', 'dlq', 'in_doubt'], false),
  ]
}

/** What does not balance, in words; '' where everything does. */
export function imbalance(sides: readonly Side[]): string {
  return sides
    .filter((s) => s.state === 'broken')
    .map((s) => {
      const [n, by] = [count(`${s.left < 0n ? -s.left : s.left}`), s.total.word.toLowerCase()]
      return s.left > 0n ? `${n} of ${by} have no outcome` : `the outcomes come to ${n} more than ${by}`
    })
    .join('; ')
}

export const isOver = (state: string): boolean => state === 'COMPLETED' || state === 'CANCELLED' || state === 'FAILED'

const active = new Set(['CREATED', 'PREFLIGHT', 'RUNNING', 'PAUSING', 'DRAINING', 'VERIFYING', 'CANCELLING'])

/** Whether it changes by itself: then it is asked again soon. */
export const moves = (j: { state: string; resumes?: boolean | undefined }): boolean =>
  active.has(j.state) || (j.state === 'BLOCKED' && !!j.resumes)

/** Whether it waits for a person. */
export function waits(i: Pick<ReplayItem, 'type' | 'state' | 'resumes' | 'approvals_needed'>): boolean {
  return i.type === 'job'
    ? i.state === 'PAUSED' || i.state === 'FENCED' || (i.state === 'BLOCKED' && !i.resumes)
    : ['READY', 'AWAITING', 'APPROVED'].includes(i.state)
}

export const jobWord: Record<string, string> = {
  CREATED: 'created',
  PREFLIGHT: 'checks the plan against the world',
  RUNNING: 'runs',
  PAUSING: 'pauses after the batch at hand',
  PAUSED: 'paused',
  BLOCKED: 'blocked',
  DRAINING: 'settles its last batches',
  VERIFYING: 'asks the sink once more',
  COMPLETED: 'done',
  CANCELLING: 'is being cancelled',
  CANCELLED: 'cancelled',
  FENCED: 'another runner took it over',
  FAILED: 'failed',
}

export interface Block {
  /** What is the matter. */
  why: string
  /** What makes it go on. */
  next: string
}

export const blocks: Record<string, Block> = {
  gap: { why: 'The log no longer holds part of the range', next: 'Accept the gap as lost, or cancel.' },
  drift: { why: 'The source or the sink is no longer what was planned', next: 'Cancel, and plan again on what is there now.' },
  schema: { why: 'The sink’s table does not take the records', next: 'Mend the table as the reason says, then resume.' },
  'sink-auth': { why: 'The sink does not let Freshet in', next: 'Mend the login or its rights, then resume.' },
  'sink-down': { why: 'The sink does not answer', next: 'It goes on by itself once the sink answers.' },
  'source-down': { why: 'The source does not answer', next: 'It goes on by itself once the source answers.' },
  disk: { why: 'The ledger cannot be written', next: 'Make room in the data directory; it goes on by itself.' },
  in_doubt_limit: {
    why: 'More records are in doubt than the plan allows',
    next: 'Find out at the receiver what became of them, then cancel and plan the rest.',
  },
  dlq_limit: {
    why: 'More records were set aside than the plan allows',
    next: 'Look at the reasons below, then cancel, or plan again with a higher limit.',
  },
  record_limit: { why: 'More records are selected than the plan allows', next: 'Cancel, and plan again with a higher limit.' },
  filter: { why: 'The filter failed on a record, and the plan says stop', next: 'Cancel, and plan again with a filter that bears it.' },
  decode: {
    why: 'A record could not be decoded, and the plan says stop',
    next: 'Cancel, and plan again so that such records are set aside.',
  },
  canary: { why: 'One of the first records was refused', next: 'Look at the refusal below, then resume or cancel.' },
  unexplained: {
    why: 'The sink says that it is at a place outside the range',
    next: 'Find out who else writes under this job’s name, then cancel.',
  },
  mismatch: { why: 'The sink is not where the counts say', next: 'Compare the sink with the range, then cancel.' },
  sink: { why: 'The sink fails', next: 'Mend what the reason says, then resume.' },
}

/** Offsets of a partition that the log begins after: what a gap would lose. null where nothing is gone. */
export function gapOf(s: JobShard, logStart: string | undefined): { partition: number; from: string; to: string } | null {
  if (!logStart) return null
  const [next, end, start] = [BigInt(s.next), BigInt(s.end), BigInt(logStart)]
  if (start <= next || next >= end) return null
  return { partition: s.p, from: s.next, to: `${start < end ? start : end}` }
}

/** How far it is: offsets accounted for, and of how many. */
export function done(j: Job): { done: bigint; of: bigint } {
  return j.shards.reduce(
    (sum, s) => ({ done: sum.done + BigInt(s.next) - BigInt(s.start), of: sum.of + BigInt(s.end) - BigInt(s.start) }),
    { done: 0n, of: 0n },
  )
}

/** A share in percent, of whole numbers of any size. */
export const percent = (part: bigint, of: bigint): number => (of === 0n ? 100 : Number((part * 10_000n) / of) / 100)

const n = (v: string) => count(v)
const record = (v: string) => `${n(v)} ${v === '1' ? 'record' : 'records'}`

/** How far it is, how long it takes, and whether it is safe to let it run. */
export function jobAnswer(j: Job): { state: State; first: string; rest: string } {
  const { done: at, of } = done(j)
  const where = into(j.sink, j.target ?? '')
  const far = `${n(`${at}`)} of ${n(`${of}`)} offsets are done`
  const wrong = imbalance(equation(j.counts, j.state === 'COMPLETED'))
  const safe = wrong ? `The counts do not balance: ${wrong}.` : 'Every record read is accounted for.'
  const except = [
    j.counts.dlq !== '0' && `${record(j.counts.dlq)} set aside`,
    j.counts.in_doubt !== '0' && `${n(j.counts.in_doubt)} in doubt`,
    j.counts.lost !== '0' && `${n(j.counts.lost)} lost`,
  ].filter(Boolean)
  const state = (s: State): State => (wrong ? 'late' : s)
  switch (j.state) {
    case 'COMPLETED':
      return except.length
        ? {
            state: state('at_risk'),
            first: `Done, with exceptions: ${except.join(', ')}.`,
            rest: `${record(j.counts.written)} written to ${where}. ${wrong ? safe : ''}`,
          }
        : {
            state: state('on_time'),
            first: `Done: ${record(j.counts.written)} written to ${where}, and every offset of the range is accounted for.`,
            rest: wrong ? safe : '',
          }
    case 'CANCELLED':
      return { state: state('paused'), first: `Cancelled: ${far}, ${record(j.counts.written)} written to ${where} stay there.`, rest: safe }
    case 'FAILED':
      return { state: 'late', first: `Failed: ${far}.`, rest: safe }
    case 'FENCED':
      return { state: 'late', first: 'Another runner took this job over.', rest: `${far}.` }
    case 'BLOCKED': {
      const b = blocks[j.blocked ?? '']
      return { state: j.resumes ? 'at_risk' : 'late', first: `${b?.why ?? 'It is blocked'}. ${b?.next ?? ''}`, rest: `${far}. ${safe}` }
    }
    case 'PAUSED':
      return { state: state('paused'), first: `Paused: ${far}.`, rest: safe }
    default: {
      const time = j.eta_s !== undefined && j.state === 'RUNNING' ? `, ${duration(j.eta_s)} of work left at the present rate` : ''
      return { state: state('on_time'), first: `${far[0]?.toUpperCase()}${far.slice(1)}${time}.`, rest: safe }
    }
  }
}

/** The mark of a plan or a job in a list. */
export function itemState(i: ReplayItem): State {
  if (i.type === 'plan') return waits(i) ? 'at_risk' : ['REJECTED', 'REVOKED', 'INVALID', 'EXPIRED'].includes(i.state) ? 'unknown' : 'idle'
  if (i.state === 'COMPLETED') return i.outcome === 'clean' ? 'on_time' : 'at_risk'
  if (i.state === 'CANCELLED' || i.state === 'PAUSED') return 'paused'
  if (i.state === 'FAILED' || i.state === 'FENCED') return 'late'
  if (i.state === 'BLOCKED') return i.resumes ? 'at_risk' : 'late'
  return 'on_time'
}
