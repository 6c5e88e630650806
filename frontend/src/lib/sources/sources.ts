import type { Source, State } from '../api/types'
import { order } from '../map/words'
import { about, best, bounds, bytes, count, known, plural, short } from '../text/format'
import { visible } from '../text/visible'

/** A position in WAL, as PostgreSQL writes it, in bytes; null for what is none. */
export function lsn(text: string | undefined): bigint | null {
  const m = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text ?? '')
  return m ? (BigInt(`0x${m[1]}`) << 32n) | BigInt(`0x${m[2]}`) : null
}

export interface Position {
  word: string
  means: string
  at: string
  /** Bytes of WAL behind the one before it; null where either is not known. */
  behind: bigint | null
}

/** How far the change goes: each position, and how far it is behind the one before. */
export function positions(p: Source['position']): Position[] {
  const steps = [
    { word: 'Server', means: 'the end of the database’s WAL', at: p.server ?? '' },
    { word: 'Received', means: 'every change before it has been received', at: p.received ?? '' },
    { word: 'In the log', means: 'every change before it is in its topic', at: p.appended ?? '' },
    { word: 'Confirmed', means: 'the database may forget what is before it', at: p.confirmed ?? '' },
  ]
  return steps.map((s, i) => {
    const [here, before] = [lsn(s.at), i ? lsn(steps[i - 1]?.at) : null]
    return { ...s, behind: here === null || before === null ? null : before > here ? before - here : 0n }
  })
}

/** From this on, what is held is a risk where nothing limits it: a disk is full sooner than anybody looks. */
const muchHeld = 10 * 2 ** 30
/** From this on, an old transaction that holds it is worth a word. */
const someHeld = 2 ** 30

export interface Risk {
  state: State
  /** In a sentence, without the dot; '' where there is none. */
  words: string
}

/** What a capture puts at risk on its database. */
export function risk(s: Source): Risk {
  const name = visible(s.name)
  const { slot } = s
  const held = slot ? best(slot.retained) : null
  const holds = held === null ? 'an unknown amount of WAL' : `${bytes(held)} of WAL`
  const grows = slot?.growth && (best(slot.growth) ?? 0) >= 1024 ? `, ${short(slot.growth)} more` : ''
  const cut = slot?.cut_off && known(slot.cut_off) ? best(slot.cut_off) : null
  const until = cut === null ? '' : `; it is cut off in about ${about(cut)}`
  const why = s.why ? `: ${visible(s.why).replace(/[.\s]+$/, '')}` : ''
  if (slot && (slot.wal_status === 'lost' || slot.why))
    return {
      state: 'late',
      words: `our slot on ${name} is cut off${slot.why ? ` (${visible(slot.why)})` : ''}: changes are lost, and the source must be made anew`,
    }
  if (slot?.wal_status === 'unreserved')
    return { state: 'late', words: `the next checkpoint on ${name} may cut our slot off: it holds ${holds}` }
  if (s.state === 'stopped')
    return {
      state: 'dead',
      words: `the capture of ${name} has stopped${why}${slot ? `; its slot goes on holding ${holds}${grows}${until}` : ''}`,
    }
  if (s.state === 'paused') return { state: 'at_risk', words: `${name} is paused, and its slot goes on holding ${holds}${grows}${until}` }
  if (cut !== null)
    return { state: 'at_risk', words: `our slot on ${name} is cut off in about ${about(cut)}, if it goes on so: it holds ${holds}${grows}` }
  if (s.state === 'reconnecting')
    return { state: 'at_risk', words: `${name} does not let us in${why}${slot ? `; its slot holds ${holds}${grows}` : ''}` }
  if (slot && !slot.active && s.state === 'streaming')
    return { state: 'at_risk', words: `nobody reads our slot on ${name}, which holds ${holds}${grows}` }
  if (slot?.held_by && (held ?? 0) > someHeld)
    return { state: 'at_risk', words: `our slot on ${name} must keep ${holds} for ${visible(slot.held_by)}` }
  if (held !== null && held > muchHeld && slot && !known(slot.safe))
    return { state: 'at_risk', words: `our slot on ${name} holds ${holds}${grows}, and nothing limits it` }
  if (!slot) return { state: 'unknown', words: `what our slot on ${name} holds is not known yet` }
  return { state: 'on_time', words: '' }
}

/** When the database gives a slot up, in a few words, and why it is so. */
export function cutOff(slot: Source['slot']): { words: string; note: string } {
  if (!slot?.cut_off) return { words: 'not known yet', note: '' }
  if (known(slot.cut_off)) return { words: short(slot.cut_off), note: bounds(slot.cut_off) }
  if (!known(slot.safe)) return { words: 'no limit', note: slot.safe.why ?? '' }
  return { words: 'not in sight', note: `${short(slot.safe)} left; ${slot.cut_off.why ?? ''}` }
}

const worstFirst = (a: { r: Risk; s: Source }, b: { r: Risk; s: Source }) =>
  order.indexOf(a.r.state) - order.indexOf(b.r.state) || (a.s.name < b.s.name ? -1 : 1)

/** Is anything at risk on a database because of us? */
export function answer(all: readonly Source[]): { state: State; first: string; details: string[] } {
  const judged = all.map((s) => ({ s, r: risk(s) })).sort(worstFirst)
  const [worst] = judged
  if (!worst) return { state: 'idle', first: 'No: nothing of ours is on any database. No source is captured yet.', details: [] }
  const unlimited = all.filter((s) => s.slot && !known(s.slot.safe) && s.slot.safe.why?.includes('max_slot_wal_keep_size')).length
  const mend = all.reduce((n, s) => n + (s.findings?.filter((f) => f.level !== 'info').length ?? 0), 0)
  const details = [
    unlimited
      ? all.length === 1
        ? 'nothing limits what it may hold: max_slot_wal_keep_size is -1'
        : `nothing limits what ${plural(unlimited, 'slot')} may hold: max_slot_wal_keep_size is -1`
      : '',
    mend ? `${plural(mend, 'finding')} to look at` : '',
  ].filter(Boolean)
  if (worst.r.state === 'on_time') {
    const sum = all.reduce((n, s) => n + (best(s.slot?.retained) ?? 0), 0)
    const first =
      all.length === 1
        ? `No: our slot on ${visible(worst.s.name)} holds ${bytes(sum)} of WAL, and is read.`
        : `No: our ${count(all.length)} slots hold ${bytes(sum)} of WAL in all, and each is read.`
    return { state: 'on_time', first, details }
  }
  const others = judged.filter((j) => j.r.state !== 'on_time' && j !== worst)
  if (worst.r.state === 'unknown') return { state: 'unknown', first: `Not known: ${worst.r.words}.`, details }
  return {
    state: worst.r.state,
    first: `Yes: ${worst.r.words}.`,
    details: [...others.slice(0, 2).map((j) => j.r.words), others.length > 2 ? `and ${others.length - 2} more` : '', ...details].filter(
      Boolean,
    ),
  }
}

/** A connection string with its password put in, as the server takes it: it moves the password to its secret store. */
export function withPassword(dsn: string, password: string): string {
  if (!password || dsn.startsWith('@')) return dsn
  const m = /^(postgres(?:ql)?:\/\/)([^/?#@]*)@(.*)$/.exec(dsn)
  if (!m) return /^postgres(ql)?:\/\//.test(dsn) ? dsn : `${dsn} password='${password.replace(/[\\']/g, '\\$&')}'`
  const [user = ''] = (m[2] ?? '').split(':')
  return `${m[1]}${user}:${encodeURIComponent(password)}@${m[3]}`
}

/** Whether a connection string holds a password in plain sight. */
export const showsPassword = (dsn: string): boolean => /^postgres(ql)?:\/\/[^/?#@:]*:[^@]+@/.test(dsn) || /\bpassword\s*=/i.test(dsn)

/** Patterns as they are typed: commas, spaces or lines between them. */
export const patterns = (text: string): string[] => text.split(/[\s,]+/).filter(Boolean)

/** Debezium's options as a person writes them: NAME=VALUE, several with commas, of which a value may have some, too. */
export const properties = (text: string): Record<string, string> =>
  Object.fromEntries(
    text
      .split(/[\n,](?=\s*[a-z]+\.[\w.@:/-]+\s*=)/)
      .filter((p) => p.trim())
      .map((p) => {
        const [name = '', ...value] = p.split('=')
        return [name.trim(), value.join('=').trim()]
      }),
  )

/** What a name of a source or a sink may not be; '' where nothing is wrong, or nothing is there yet. */
export function wrongName(name: string): string {
  if (name === '') return ''
  return /^[A-Za-z0-9_.-]{1,40}$/.test(name) ? '' : 'letters, digits, _, . and -, at most 40'
}
