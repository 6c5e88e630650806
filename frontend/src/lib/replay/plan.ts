import type { Evidence, Plan } from '../api/types'
import { count, plural } from '../text/format'
import type { Draft } from './draft'

/** What the page reads of a plan's document. Its numbers are within ±2^53, longer ones are strings. */
export interface Doc {
  nonce: string
  title: string
  reason: string
  author: string
  frozen: { now: string }
  source: {
    conn: string
    topic: string
    topic_id: string
    partitions: number
    cleanup?: string
    ts_type?: string
    selected_by: { by: string; from_ms?: string; to_ms?: string; slack_ms?: string }
    ranges: { p: number; start: string; end: string; log_start: string; hw: string }[]
  }
  filter?: { lang: string; src: string; on_error: string }
  sink: {
    type: string
    guarantee: string
    conn?: string
    endpoint?: string
    url?: string
    table?: string
    targets?: { topic: string }[]
    write?: { mode: string }
    receiver?: string
  }
  rate: { records_per_s: number; canary_records?: number }
  limits: { max_records: number; max_dlq: number; max_in_doubt: number; accept_gaps: boolean; allow_overlap: boolean }
  undo: { mode: string; note?: string }
  approval: { needed: number; ttl_s: number; max_runs: number }
}

/** The plan's document; null where it is none that this page can read. */
export function readDoc(canonical: string | undefined): Doc | null {
  try {
    const d = JSON.parse(canonical ?? '') as Partial<Doc>
    return d.source?.ranges && d.sink && d.limits && d.rate && d.approval && d.undo ? (d as Doc) : null
  } catch {
    return null
  }
}

export const sinkName = (d: Doc): string => d.sink.endpoint ?? d.sink.conn ?? ''
export const targetName = (d: Doc): string => d.sink.targets?.[0]?.topic ?? d.sink.table ?? ''

/** "warehouse", "copy / orders.again". */
export const into = (sink: string, target: string): string => (target ? `${sink} / ${target}` : sink)

export const offsetsOf = (d: Doc): bigint => d.source.ranges.reduce((n, r) => n + BigInt(r.end) - BigInt(r.start), 0n)

/** A draft that would make the plan again, for whoever wants to change it. */
export function draftOf(d: Doc): Partial<Draft> {
  const iso = (ms: string | undefined) => (ms ? new Date(Number(ms)).toISOString() : '')
  const by = d.source.selected_by
  return {
    cluster: d.source.conn,
    topic: d.source.topic,
    ...(by.by === 'time'
      ? { by: 'time', since: iso(by.from_ms), until: iso(by.to_ms) }
      : by.by === 'topic'
        ? { by: 'topic' }
        : { by: 'offsets', offsets: d.source.ranges.map((r) => `${r.p}:${r.start}-${r.end}`) }),
    ...(d.filter ? { filter: d.filter.src, onError: d.filter.on_error as Draft['onError'] } : {}),
    sink: sinkName(d),
    target: targetName(d),
    ...(d.rate.records_per_s ? { rate: `${d.rate.records_per_s}` } : {}),
    title: d.title,
    reason: d.reason,
    overlap: d.limits.allow_overlap,
  }
}

/** What a write of one record does at that kind of sink, and what it leaves alone. */
export function effectOf(d: Doc): { does: string; leaves: string } {
  const where = into(sinkName(d), targetName(d))
  switch (d.sink.type) {
    case 'postgres':
      return d.sink.write?.mode === 'append'
        ? { does: `Adds one row for each record to ${where}.`, leaves: 'Rows that are there stay as they are.' }
        : {
            does: `Puts each row in ${where} to what the last record of its key within the range says, and deletes it where that is a delete. A row that changed after the range is set back to the range’s version.`,
            leaves: 'Rows without a record in the range stay as they are.',
          }
    case 'kafka':
      return {
        does: `Appends each record to ${where}, with its key, headers and time; whoever reads that topic reads it.`,
        leaves: 'Records that are there stay as they are.',
      }
    default:
      return {
        does: `Sends each record to ${where} as one POST with an Idempotency-Key of its own. ${d.sink.receiver === 'idempotent' ? 'The receiver drops what it has seen under the same key.' : 'What gets no answer is in doubt, and not sent again.'}`,
        leaves: 'What the receiver did before is not touched.',
      }
  }
}

export const guarantees: Record<string, string> = {
  effectively_once: 'once: rows and progress commit together',
  at_least_once_or_in_doubt: 'at least once, or in doubt: the sink keeps no progress',
}

export const warnings: Record<string, string> = {
  LOG_APPEND_TIME: 'The time range selects by the broker’s clock, not by the records’ own times.',
  COMPACTED: 'A run can find fewer records than the dry run did.',
  OPEN_TRANSACTION: 'Plan again when it is over, if its records matter.',
  TARGET_HAS_LIVE_GROUPS: 'These groups will read the records again; see that they bear it.',
  AT_LEAST_ONCE: 'The receiver must bear the same record twice.',
  TARGET_MISSING: 'The run makes it, with as many partitions as the source has.',
  SAME_TOPIC: 'Whoever reads the topic gets them a second time, and a second run sends the copies too.',
  OVER_LIMIT: 'The job stops there and needs a person. Plan again with another limit or a narrower filter.',
  UNSUPPORTED: 'It cannot run here: it asks for what this engine does not do.',
}

export interface Share {
  id: 'write' | 'filtered' | 'dropped' | 'dlq'
  word: string
  n: bigint
}

/** What the dry run found of the records that it saw, which all have one of these outcomes. */
export function shares(e: Evidence): Share[] {
  const [filtered, dropped] = [BigInt(e.filtered), BigInt(e.dropped)]
  const all: Share[] = [
    { id: 'write', word: 'would be written', n: BigInt(e.would_write) },
    { id: 'filtered', word: 'filtered', n: filtered - dropped },
    { id: 'dropped', word: 'left out, the filter failed on them', n: dropped },
    { id: 'dlq', word: 'would be set aside', n: BigInt(e.would_dlq) },
  ]
  return all.filter((s) => s.n > 0n || s.id === 'write')
}

export type PlanStep = 'dry' | 'approve' | 'run' | 'over'

export function stepOf(p: Plan): PlanStep {
  switch (p.state) {
    case 'PLANNED':
    case 'DRY_RUN':
      return 'dry'
    case 'READY':
    case 'AWAITING':
      return p.approvals_needed > p.approvals_have ? 'approve' : 'run'
    case 'APPROVED':
      return 'run'
    default:
      return 'over'
  }
}

export const planWord: Record<string, string> = {
  PLANNED: 'planned',
  DRY_RUN: 'dry run under way',
  READY: 'ready for approval',
  AWAITING: 'awaits another approval',
  APPROVED: 'approved, not run',
  CONSUMED: 'has been run',
  REJECTED: 'rejected',
  WITHDRAWN: 'withdrawn',
  EXPIRED: 'expired',
  SUPERSEDED: 'superseded',
  INVALID: 'no longer valid',
  REVOKED: 'approval revoked',
}

/** What exactly would be written if this were approved, in a sentence. */
export function planAnswer(p: Plan, d: Doc | null): { first: string; rest: string } {
  const where = d ? into(sinkName(d), targetName(d)) : 'its sink'
  const e = p.evidence
  if (p.state === 'DRY_RUN') return { first: 'The dry run is under way.', rest: 'Nothing is written.' }
  if (!e)
    return {
      first: `Nothing is known yet of what this would write to ${where}.`,
      rest: stepOf(p) === 'over' ? '' : 'A dry run tells, and writes nothing.',
    }
  const n = BigInt(e.would_write)
  const verb = p.state === 'CONSUMED' ? 'The dry run found that it would write' : 'If this is approved and run, it writes'
  const left = BigInt(e.filtered) + BigInt(e.would_dlq)
  return {
    first:
      n === 0n
        ? `This would write nothing to ${where}.`
        : `${verb} ${count(e.would_write)} ${n === 1n ? 'record' : 'records'} to ${where}${left ? `; ${count(`${left}`)} of the range ${left === 1n ? 'is' : 'are'} left out` : ''}.`,
    rest: '',
  }
}

/** Who is needed still, in words. */
export function approvalsWord(p: Plan): string {
  if (p.approvals_needed === 0) return 'needs no approval'
  return `${p.approvals_have} of ${plural(p.approvals_needed, 'person', 'people')}`
}
