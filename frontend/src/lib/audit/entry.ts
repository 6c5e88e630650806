import type { AuditEntry } from '../api/types'
import { type Json, Num, Obj, readJson, writeJson } from '../json/json'

/** An entry as its leaf has it: nothing else was hashed. null where the text is no leaf. */
export function readLeaf(leaf: string): { entry: AuditEntry; detail: Json | undefined; prev: string } | null {
  let v: Json
  try {
    v = readJson(leaf)
  } catch {
    return null
  }
  if (!(v instanceof Obj)) return null
  const text = (name: string): string => {
    const m = v.get(name)
    return typeof m === 'string' ? m : m instanceof Num ? m.text : ''
  }
  const entry: AuditEntry = {
    seq: text('seq'),
    at: text('at'),
    actor: text('actor'),
    action: text('action'),
    phase: text('phase'),
    subject: text('subject'),
  }
  if (text('outcome')) entry.outcome = text('outcome')
  if (text('ref')) entry.ref = text('ref')
  return entry.seq && entry.action ? { entry, detail: v.get('detail'), prev: text('prev') } : null
}

/** The leaves of a value by their paths, in order: `evidence.seen`, `first[0]`. */
export function leaves(v: Json, path = ''): { path: string; text: string }[] {
  if (v instanceof Obj && v.members.length) return v.members.flatMap(([k, m]) => leaves(m, path ? `${path}.${k}` : k))
  if (Array.isArray(v) && v.length) return v.flatMap((m: Json, i) => leaves(m, `${path}[${i}]`))
  return [{ path, text: writeJson(v) }]
}

/** Where what an entry is about can be seen; null where there is no such place. */
export function placeOf(e: Pick<AuditEntry, 'action' | 'subject'>): { path: string[]; word: string } | null {
  if (!e.subject) return null
  if (e.subject.startsWith('jb_')) return { path: ['replay', 'jobs', e.subject], word: 'Open the job' }
  if (e.subject.startsWith('pl_')) return { path: ['replay', 'plans', e.subject], word: 'Open the plan' }
  const rooms: Record<string, [string, string]> = {
    sink: ['sinks', 'sink'],
    source: ['sources', 'source'],
    topic: ['topics', 'topic'],
    group: ['groups', 'group'],
  }
  const room = rooms[e.action.split('.')[0] ?? '']
  return room ? { path: [room[0], e.subject], word: `Open the ${room[1]}` } : null
}
