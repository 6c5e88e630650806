import type { Sample } from '../api/types'
import { type Json, Obj, readJson, writeJson } from '../json/json'

export interface FieldChange {
  name: string
  /** As JSON; undefined where there is none. */
  old: string | undefined
  new: string | undefined
}

/** What a sample's record does, as far as its text tells. */
export interface Change {
  op: 'insert' | 'update' | 'delete' | 'snapshot' | 'record'
  table: string
  /** The fields that it sets, those that changed first where it says what was before. */
  fields: FieldChange[]
  /** Where the fields cannot be told: the text, which may be only the beginning. */
  text: string
}

const ops: Record<string, Change['op']> = { c: 'insert', u: 'update', d: 'delete', r: 'snapshot' }
const mark: Record<Change['op'], string> = { insert: '+', snapshot: '+', update: '~', delete: '−', record: '·' }
const word: Record<Change['op'], string> = { insert: 'insert', snapshot: 'row', update: 'update', delete: 'delete', record: 'record' }

export const opMark = (c: Change): string => mark[c.op]
export const opWord = (c: Change): string => word[c.op]

function parsed(text: string): Json | undefined {
  try {
    return readJson(text)
  } catch {
    return undefined
  }
}

export function readSample(s: Sample): Change {
  const none: Change = { op: 'record', table: '', fields: [], text: s.value ?? '' }
  const v = parsed(s.value ?? '')
  if (!(v instanceof Obj)) return none
  const source = v.get('source')
  const op = v.get('op')
  const payload = v.get('payload')
  if (payload instanceof Obj && !v.get('op')) return readSample({ ...s, value: writeJson(payload) })
  if (typeof op !== 'string' || !(op in ops)) return { ...none, fields: rows(undefined, v), text: '' }
  const [before, after] = [v.get('before'), v.get('after')]
  const name = (n: string) => {
    const t = source instanceof Obj ? source.get(n) : undefined
    return typeof t === 'string' ? t : ''
  }
  return {
    op: ops[op] ?? 'record',
    table: [name('schema'), name('table')].filter(Boolean).join('.'),
    fields: rows(before instanceof Obj ? before : undefined, after instanceof Obj ? after : undefined),
    text: '',
  }
}

function rows(before: Obj | undefined, after: Obj | undefined): FieldChange[] {
  const names = new Set([...(after?.members ?? []), ...(before?.members ?? [])].map((m) => m[0]))
  const text = (o: Obj | undefined, n: string) => {
    const v = o?.get(n)
    return v === undefined ? undefined : writeJson(v)
  }
  const all = [...names].map((name) => ({ name, old: text(before, name), new: text(after, name) }))
  return before && after ? [...all.filter((f) => f.old !== f.new), ...all.filter((f) => f.old === f.new)] : all
}

/** What the sink holds of a sample's row now, against the sample. */
export type Compared =
  | { state: 'same' | 'insert' | 'unknown'; why: string }
  | { state: 'update'; why: string; columns: readonly string[] }
  /** The topic holds newer records of the row. */
  | { state: 'older'; why: string }
