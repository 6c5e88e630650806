import type { TraceColumns } from '../api/types'
import { decimal } from '../json/decimals'
import { type Json, Num, Obj, writeJson } from '../json/json'
import type { Held, Version } from './trace'

export interface Cell {
  /** null: there is no such field, or no row. */
  value: Json | undefined
  how: 'first' | 'same' | 'changed' | 'added' | 'removed' | 'unsent' | 'none' | 'no_column' | 'differs'
}

export interface FieldRow {
  name: string
  /** As the database writes it, '' where it is not known. */
  type: string
  /** Of each version that is shown, oldest first. */
  versions: Cell[]
  /** Of each sink, in their order. */
  held: Cell[]
  changed: boolean
}

/** What Debezium sends for a large value that the database did not log since it did not change. */
const unavailable = '__debezium_unavailable_value'

/** The rows by field: what changed first, then what a sink holds otherwise, then the rest, each in the row's own order. */
export function fieldRows(
  shown: readonly Version[],
  before: Version | undefined,
  held: readonly Held[],
  columns?: TraceColumns,
): FieldRow[] {
  const names: string[] = []
  const seen = new Set<string>()
  const rows: (Json | undefined)[] = [...shown.toReversed().map((v) => v.after ?? v.before), ...held.map((h) => h.row)]
  for (const row of rows)
    for (const name of namesOf(row))
      if (!seen.has(name)) {
        seen.add(name)
        names.push(name)
      }
  const scales = new Map(columns?.decimals?.map((c) => [c.column, c.scale]))
  const written = (v: Json, name: string) => (scales.has(name) ? decimal(v, scales.get(name)) : v)
  return names
    .map((name) => {
      let last = before ? field(before.after, name) : field(shown[0]?.before, name)
      const known = before !== undefined || shown[0]?.before !== undefined
      const versions = shown.map((v, i): Cell => {
        const value = field(v.after, name)
        if (value === unavailable) return { value: undefined, how: 'unsent' }
        const how = compare(last, value, i > 0 || known)
        last = value
        return { value: value === undefined ? undefined : written(value, name), how }
      })
      return {
        name,
        type: columns?.columns.find((c) => c.name === name)?.type ?? '',
        versions,
        held: held.map((h) => heldCell(h, name)),
        changed: versions.some((c) => c.how === 'changed' || c.how === 'added' || c.how === 'removed'),
      }
    })
    .sort((a, b) => rank(a) - rank(b))
}

const rank = (r: FieldRow): number => (r.changed ? 0 : r.held.some((c) => c.how === 'differs' || c.how === 'no_column') ? 1 : 2)

function compare(last: Json | undefined, value: Json | undefined, known: boolean): Cell['how'] {
  if (!known) return value === undefined ? 'none' : 'first'
  if (value === undefined) return last === undefined ? 'none' : 'removed'
  if (last === undefined) return 'added'
  return same(last, value) ? 'same' : 'changed'
}

function heldCell(h: Held, name: string): Cell {
  if (h.missing?.includes(name)) return { value: undefined, how: 'no_column' }
  const value = field(h.row, name)
  if (h.differs?.includes(name)) return { value, how: 'differs' }
  return { value, how: value === undefined ? 'none' : 'same' }
}

/** A row that is no object is one field without a name. */
const whole = ''

function namesOf(row: Json | undefined): string[] {
  if (row instanceof Obj) return row.members.map(([n]) => n)
  return row === undefined ? [] : [whole]
}

function field(row: Json | undefined, name: string): Json | undefined {
  if (row instanceof Obj) return row.get(name)
  return name === whole ? row : undefined
}

/** Equal as they are written: 1.0 is not 1.00. */
export function same(a: Json, b: Json): boolean {
  return writeJson(a) === writeJson(b)
}

/** A value as a cell shows it: a text without its quotes, unless it would be taken for something else. */
export function cellText(v: Json): string {
  if (typeof v === 'string')
    return v === '' || /^\s|\s$|^(?:null|true|false)$|^["[{]|^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/i.test(v) ? JSON.stringify(v) : v
  return v instanceof Num ? v.text : writeJson(v)
}

/** What a sink held at a moment by its position: a version's row, against what was committed by then. */
export function heldThen(h: Held, version: Version | undefined, committed: Version | undefined): Held {
  const row = version?.after
  const names = [...new Set([...namesOf(row), ...namesOf(committed?.after)])]
  const differs =
    version === committed ? [] : names.filter((n) => writeJson(field(row, n) ?? null) !== writeJson(field(committed?.after, n) ?? null))
  return { ...h, state: row === undefined ? 'absent' : 'held', row, differs: row === undefined ? [] : differs, missing: [] }
}

/** The fields that a change changed; null where the row before it is not known. */
export function changedFields(before: Version | undefined, v: Version): string[] | null {
  const old = before ? before.after : v.before
  if (old === undefined && !before) return null
  const names = [...new Set([...namesOf(v.after), ...namesOf(old)])]
  return names.filter((n) => {
    const [a, b] = [field(old, n), field(v.after, n)]
    return b !== unavailable && (a === undefined ? '' : writeJson(a)) !== (b === undefined ? '' : writeJson(b))
  })
}
