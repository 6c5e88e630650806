import type { HeldRow, TraceAnswer, TraceColumns, TraceScan, TraceVersion } from '../api/types'
import { type Json, Obj, readJson } from '../json/json'

/** One change of the row. Its rows are as they were written: 64-bit numbers and decimals keep their digits. */
export type Version = Omit<TraceVersion, 'before' | 'after'> & {
  /** 1 is the oldest that was found. */
  n: number
  /** PARTITION:OFFSET. */
  at: string
  before: Json | undefined
  after: Json | undefined
}

export type Held = Omit<HeldRow, 'row'> & { row: Json | undefined }

export interface Trace {
  versions: readonly Version[]
  held: readonly Held[]
  scans: readonly TraceScan[]
  columns: readonly TraceColumns[]
}

/** Reads an answer; throws where it is not JSON. */
export function readTrace(text: string): Trace {
  const plain = JSON.parse(text) as TraceAnswer
  const exact = readJson(text)
  const rows = (name: string, i: number): Obj | undefined => {
    const all = exact instanceof Obj ? exact.get(name) : undefined
    const one = Array.isArray(all) ? (all as readonly Json[])[i] : undefined
    return one instanceof Obj ? one : undefined
  }
  return {
    versions: plain.items.map((v, i) => ({
      ...v,
      n: i + 1,
      at: `${v.partition}:${v.offset}`,
      before: rows('items', i)?.get('before'),
      after: rows('items', i)?.get('after'),
    })),
    held: plain.held.map((h, i) => ({ ...h, row: rows('held', i)?.get('row') })),
    scans: plain.scans,
    columns: plain.columns ?? [],
  }
}

/** Where the row's changes are; a table that two sources capture is in two topics. */
export interface Log {
  cluster: string
  topic: string
}

export const logId = (l: Log): string => `${l.cluster}/${l.topic}`

/** One log's share of a trace, its versions numbered from 1. */
export function inLog(t: Trace, l: Log): Trace {
  const here = (x: Log) => x.cluster === l.cluster && x.topic === l.topic
  return {
    versions: t.versions.filter(here).map((v, i) => ({ ...v, n: i + 1 })),
    held: t.held.filter((h) => h.topic === l.topic),
    scans: t.scans.filter(here),
    columns: t.columns.filter(here),
  }
}

/** The moment, in ms, that all delays of a version are counted from: its commit, else when its record was made. */
export function startOf(v: Pick<Version, 'commit' | 'time'>): number {
  return Date.parse(v.commit || v.time)
}

/** Whether the version takes the row away. */
export const deletes = (v: Pick<Version, 'op'> | undefined): boolean => v?.op === 'd'

const ops: Record<string, string> = { c: 'create', u: 'update', d: 'delete', r: 'read', t: 'truncate', m: 'message' }

/** What a change did, in a word. */
export const opWord = (op: string): string => (Object.hasOwn(ops, op) ? (ops[op] ?? op) : op || 'record')
