import type { LogRecord, Payload, Scan } from '../api/types'
import { Decimal, rowDecimals, schemaDecimals } from '../json/decimals'
import { detach, type Json, Num, Obj, readJson, writeJson } from '../json/json'
import { bytes } from '../text/format'

export interface Place {
  partition: number
  offset: string
}

/** A record's name in links and selections: `9:4013502`. */
export const nameOf = (r: Place): string => `${r.partition}:${r.offset}`

/** What is written as PARTITION:OFFSET; null for anything else. */
export function readPlace(text: string): Place | null {
  const m = /^(\d{1,10}):(\d{1,19})$/.exec(text)
  return m ? { partition: Number(m[1]), offset: m[2] ?? '' } : null
}

/** A record as the page holds it. What its value says is read when it is first looked at. */
export class Row {
  readonly record: LogRecord
  readonly id: string
  readonly #decoded: string | undefined
  #whole: Json | undefined

  constructor(record: LogRecord, decoded?: string) {
    this.record = record
    this.id = nameOf(record)
    this.#decoded = decoded
  }

  /** The decoded value, decimals as digits; undefined where it is not JSON, or too long for a row. */
  get whole(): Json | undefined {
    if (this.#whole === undefined && this.#decoded !== undefined) this.#whole = legible(readJson(this.#decoded), this.record)
    return this.#whole
  }

  /** The same without Connect's schema around it. */
  get value(): Json | undefined {
    const v = this.whole
    return v === undefined ? v : payloadOf(v)
  }

  /** The row of the table before and after the change; undefined where the record is no change. */
  get before(): Json | undefined {
    return this.#side('before')
  }

  get after(): Json | undefined {
    return this.#side('after')
  }

  #side(name: string): Json | undefined {
    return this.record.op && this.value instanceof Obj ? this.value.get(name) : undefined
  }

  /** The decoded text. */
  get source(): string | undefined {
    return this.#decoded
  }
}

function legible(v: Json, { decimals }: LogRecord): Json {
  const inner = payloadOf(v)
  if (inner !== v && v instanceof Obj) {
    const schema = v.get('schema') ?? null
    return new Obj([
      ['schema', schema],
      ['payload', schemaDecimals(inner, schema)],
    ])
  }
  if (!decimals || !(v instanceof Obj)) return v
  return new Obj(v.members.map(([name, x]) => [name, name === 'before' || name === 'after' ? rowDecimals(x, decimals) : x]))
}

function payloadOf(v: Json): Json {
  if (!(v instanceof Obj) || v.members.length !== 2 || v.members[0]?.[0] !== 'schema' || v.members[1]?.[0] !== 'payload') return v
  return v.members[1][1]
}

/** An answer of records. */
export interface Found {
  rows: Row[]
  scan: Scan
}

/** Reads an answer of records without losing a digit of what is in them. */
export function readRecords(text: string): Found {
  const { rest, texts } = detach<{ items: LogRecord[]; scan: Scan }>(text, 'decoded')
  return { rows: rest.items.map((r) => rowOf(r, texts)), scan: rest.scan }
}

/** The same of an answer that holds one record, or none. */
export function readRecord<T extends { record?: LogRecord }>(text: string): { answer: T; row: Row | null } {
  const { rest, texts } = detach<T>(text, 'decoded')
  return { answer: rest, row: rest.record ? rowOf(rest.record, texts) : null }
}

function rowOf(r: LogRecord, texts: readonly string[]): Row {
  const i = (r as { decoded?: unknown }).decoded
  return new Row(r, typeof i === 'number' ? texts[i] : undefined)
}

/** The steps of a field's path: a dot in a name has a backslash before it, a comma and a backslash too. */
export function steps(path: string): string[] {
  const all: string[] = []
  let name = ''
  for (let i = 0; i < path.length; i++) {
    if (path[i] === '.') {
      all.push(name)
      name = ''
    } else name += path[i] === '\\' ? (path[++i] ?? '') : path[i]
  }
  return [...all, name]
}

/** A path of steps. */
export const pathOf = (names: readonly string[]): string => names.map((n) => n.replace(/[\\.,]/g, '\\$&')).join('.')

/** What lies at a path; undefined where nothing does. */
export function valueAt(v: Json | undefined, path: readonly string[]): Json | undefined {
  for (const name of path) {
    if (v instanceof Decimal) v = v.raw
    if (v instanceof Obj) v = v.get(name)
    else if (Array.isArray(v)) v = /^\d+$/.test(name) ? (v as readonly Json[])[Number(name)] : undefined
    else return undefined
  }
  return v
}

/** A value in a line: text as it is, the rest as JSON. Longer than max, its beginning. */
export function inLine(v: Json | undefined, max = 300): string {
  if (v === undefined) return ''
  const text = typeof v === 'string' ? v : v instanceof Num ? v.text : writeJson(v)
  return text.length > max ? `${text.slice(0, max)}…` : text
}

/** A key, a value or a header's value in a line; of bytes that are no text their beginning in hexadecimal digits. */
export function payloadText(p: Payload | null | undefined, max = 300): string {
  if (!p) return 'null'
  if (p.text === undefined) {
    if (p.size === 0) return 'empty'
    const shown = bytesOf(p).subarray(0, 24)
    return `0x${hex(shown)}${p.size > shown.length ? '…' : ''} (${bytes(p.size)})`
  }
  return p.text.length > max ? `${p.text.slice(0, max)}…` : p.text
}

export function bytesOf(p: Payload): Uint8Array {
  if (p.base64) return Uint8Array.from(atob(p.base64), (c) => c.charCodeAt(0))
  return new TextEncoder().encode(p.text ?? '')
}

export const hex = (b: Uint8Array): string => Array.from(b, (x) => x.toString(16).padStart(2, '0')).join('')

/** The key as a person says it: the value of a JSON key's only column, else the whole text. */
export function keyWord(r: LogRecord): string {
  const text = r.key?.text
  if (!text?.startsWith('{')) return payloadText(r.key)
  try {
    const v = payloadOf(readJson(text))
    if (v instanceof Obj && v.members.length === 1) return inLine(v.members[0]?.[1])
  } catch {
    // It only looks like JSON.
  }
  return payloadText(r.key)
}

export const opWords: Record<string, string> = { c: 'create', u: 'update', d: 'delete', r: 'snapshot', t: 'truncate', m: 'message' }

/** What the record does, in a word. */
export function opWord(r: LogRecord): string {
  if (r.op) return opWords[r.op] ?? r.op
  return r.value ? '' : 'tombstone'
}

/** Columns whose value is another after the update than before it; null where what it was before is not known. */
export function changedFields(row: Row): string[] | null {
  const { before, after } = row
  if (row.record.op !== 'u' || !(before instanceof Obj) || !(after instanceof Obj)) return null
  return after.members.filter(([k, v]) => inLine(before.get(k) ?? null, 1e6) !== inLine(v, 1e6)).map((m) => m[0])
}
