import { type Json, Obj } from '../json/json'
import { inLine } from './records'

export interface FieldDiff {
  /** Its names from the row on. */
  path: readonly string[]
  kind: 'added' | 'removed' | 'changed' | 'same'
  /** undefined where there is none. */
  old: Json | undefined
  new: Json | undefined
}

/** What two versions of a row say of each field, in the new one's order; objects are looked into. */
export function fieldDiff(older: Json | undefined, newer: Json | undefined): FieldDiff[] {
  return fields([], older ?? null, newer ?? null)
}

function fields(path: readonly string[], a: Json | undefined, b: Json | undefined): FieldDiff[] {
  if (!(a instanceof Obj) && !(b instanceof Obj)) return [leaf(path, a, b)]
  const [x, y] = [a instanceof Obj ? a : new Obj([]), b instanceof Obj ? b : new Obj([])]
  const scalars = [
    a instanceof Obj || a === null || a === undefined ? [] : [leaf(path, a, undefined)],
    b instanceof Obj || b === null || b === undefined ? [] : [leaf(path, undefined, b)],
  ]
  const names = new Set([...y.members.map((m) => m[0]), ...x.members.map((m) => m[0])])
  return [...scalars.flat(), ...[...names].flatMap((n) => fields([...path, n], x.get(n), y.get(n)))]
}

function leaf(path: readonly string[], a: Json | undefined, b: Json | undefined): FieldDiff {
  const kind =
    a === undefined
      ? 'added'
      : b === undefined
        ? 'removed'
        : inLine(a, 1e7) === inLine(b, 1e7) && typeof a === typeof b
          ? 'same'
          : 'changed'
  return { path, kind, old: a, new: b }
}
