import type { Reading, Time } from '../api/types'
import { zoneChoice } from './zone.svelte'

// How numbers, durations and times are written: two units at most, the unit always, rounded here and exact on hover.

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })

/** A count with commas from 1,000 up; takes the API's 64-bit strings as they are. */
export function count(n: number | string): string {
  if (typeof n === 'number') return whole.format(Math.round(n))
  return /^-?\d+$/.test(n) ? whole.format(BigInt(n)) : n
}

/** "1 path", "7 paths". */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`
}

/**
 * A duration: `38 ms`, `1.31 s`, `42.0 s`, `3 min 10 s`, `6 d 23 h`. Where the value is only known to within `width`
 * seconds, no digit is written that says more.
 */
export function duration(seconds: number, width = 0): string {
  if (seconds < 0) return `−${duration(-seconds, width)}`
  if (seconds < 0.9995 && width < 0.1) return `${Math.round(seconds * 1000)} ms`
  if (seconds < 59.95) {
    const digits = width >= 10 ? 0 : seconds < 9.995 && width < 0.1 ? 2 : 1
    return `${seconds.toFixed(digits)} s`
  }
  const s = Math.round(seconds)
  if (s < 3600) return units(Math.floor(s / 60), 'min', s % 60, 's')
  const m = Math.round(seconds / 60)
  if (m < 1440) return units(Math.floor(m / 60), 'h', m % 60, 'min')
  const h = Math.round(seconds / 3600)
  return units(Math.floor(h / 24), 'd', h % 24, 'h')
}

function units(big: number, bigUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${count(big)} ${bigUnit}` : `${count(big)} ${bigUnit} ${small} ${smallUnit}`
}

/** A duration for a sentence: "42 s", "3 min", "2 h". */
export function about(seconds: number): string {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  if (seconds < 119.5) return `${Math.round(seconds)} s`
  if (seconds < 7170) return `${Math.round(seconds / 60)} min`
  if (seconds < 172_000) return `${Math.round(seconds / 3600)} h`
  return `${Math.round(seconds / 86_400)} d`
}

/** Bytes in KiB, MiB, GiB. */
export function bytes(n: number): string {
  if (n < 0) return `−${bytes(-n)}`
  if (n < 1024) return `${Math.round(n)} B`
  let v = n
  let unit = ''
  for (const u of ['KiB', 'MiB', 'GiB', 'TiB', 'PiB']) {
    v /= 1024
    unit = u
    if (v < 1023.5) break
  }
  return `${v.toFixed(v < 99.5 ? 1 : 0)} ${unit}`
}

function rate(n: number): string {
  if (n === 0) return '0'
  return n < 9.95 ? n.toFixed(1) : count(n)
}

const unitWords: Record<string, string> = { records: 'rec', 'records/s': 'rec/s', '1/s': 'rec/s', 'rows/s': 'rows/s' }

/** An amount in its unit. */
export function amount(value: number, unit: string, width = 0): string {
  switch (unit) {
    case 's':
      return duration(value, width)
    case 'B':
      return bytes(value)
    case 'B/s':
    case 'bytes/s':
      return `${bytes(value)}/s`
    default: {
      const text = unit.endsWith('/s') ? rate(value) : count(value)
      const word = unitWords[unit] ?? unit
      return word ? `${text} ${word}` : text
    }
  }
}

/** A reading that says something of the value. */
export type KnownReading = Reading & { state: Exclude<Reading['state'], 'unknown'> }

export function known(r: Reading | null | undefined): r is KnownReading {
  return !!r && r.state !== 'unknown' && (r.value !== null || r.low !== null || r.high !== null)
}

/** The best single number of a reading, for sorting and drawing; null where there is none. */
export function best(r: Reading | null | undefined): number | null {
  if (!known(r)) return null
  if (r.value !== null) return r.value
  if (r.low !== null && r.high !== null) return (r.low + r.high) / 2
  return r.low ?? r.high
}

function width(r: Reading): number {
  return r.low !== null && r.high !== null ? r.high - r.low : 0
}

/** A reading in a few characters: "42.0 s", "at least 30 s", "unknown". */
export function short(r: Reading | null | undefined): string {
  if (!known(r)) return 'unknown'
  if (r.value !== null) {
    const w = width(r)
    // Too small to write with the digits that the bounds allow, and yet not zero: what is certain is how much it is at most.
    if (r.unit === 's' && r.value > 0 && r.value < 0.05 && w >= 0.1 && r.high !== null)
      return `< ${duration(Math.ceil(r.high * 10) / 10, 0.1)}`
    return amount(r.value, r.unit, w)
  }
  if (r.low !== null && r.high !== null) return `${amount(r.low, r.unit, width(r))} to ${amount(r.high, r.unit, width(r))}`
  if (r.low !== null) return `at least ${amount(r.low, r.unit)}`
  return `at most ${amount(r.high ?? 0, r.unit)}`
}

/** The bounds in words, or '' where there is nothing to add: an exact value, or only one bound. */
export function bounds(r: Reading | null | undefined): string {
  if (!known(r) || r.state === 'exact' || r.value === null) return ''
  const w = width(r)
  if (r.low !== null && r.high !== null) {
    if (amount(r.low, r.unit, w) === amount(r.high, r.unit, w)) return ''
    if (/^0(\.0+)? /.test(amount(Math.max(0, r.low), r.unit, w))) return `at most ${amount(r.high, r.unit, w)}`
    return `between ${amount(Math.max(0, r.low), r.unit, w)} and ${amount(r.high, r.unit, w)}`
  }
  if (r.low !== null) return `at least ${amount(r.low, r.unit)}`
  if (r.high !== null) return `at most ${amount(r.high, r.unit)}`
  return ''
}

const certainty: Record<Reading['state'], string> = {
  exact: 'exact',
  estimate: 'an estimate',
  bounded: 'within bounds',
  unknown: 'unknown',
}

/** Everything there is to know of a reading, for a tip. */
export function exact(r: Reading | null | undefined): string {
  if (!r) return 'not measured here'
  const at = r.as_of ? `, as of ${clock(r.as_of)}` : ''
  if (!known(r)) return `unknown: ${r.why || 'no reading yet'}${at}`
  const num = (v: number | null) => (v === null ? 'open' : `${v}`)
  const value = r.value === null ? '' : `${r.value} ${r.unit}, `
  const range = r.state === 'exact' ? '' : ` from ${num(r.low)} to ${num(r.high)} ${r.unit}`
  return `${value}${certainty[r.state]}${range}${r.why ? ` (${r.why})` : ''}${at}`
}

function parts(d: Date, inUTC: boolean): [date: string, time: string] {
  const iso = (inUTC ? d : new Date(d.getTime() - d.getTimezoneOffset() * 60_000)).toISOString()
  return [iso.slice(0, 10), iso.slice(11, 23)]
}

/** A time of the day, `14:03:07`, with the date where it is not today; local or UTC, as is chosen. */
export function clock(at: Time | number, now = Date.now(), precision: 'min' | 's' | 'ms' = 's'): string {
  const d = new Date(at)
  if (Number.isNaN(d.getTime())) return 'unknown time'
  const [date, whole] = parts(d, zoneChoice.utc)
  const time = whole.slice(0, precision === 'min' ? 5 : precision === 's' ? 8 : 12)
  return date === parts(new Date(now), zoneChoice.utc)[0] ? time : `${date} ${time}`
}

/** The same moment to the millisecond in the zone that is not chosen, for a tip: UTC beside local time. */
export function otherZone(at: Time | number): string {
  const d = new Date(at)
  if (Number.isNaN(d.getTime())) return ''
  return `${parts(d, !zoneChoice.utc).join(' ')} ${zoneChoice.utc ? localZone(d) : 'UTC'}`
}

/** The zone's short name, said once a page. */
export function zone(now: number = Date.now()): string {
  return zoneChoice.utc ? 'UTC' : localZone(now)
}

function localZone(at: number | Date): string {
  const part = new Intl.DateTimeFormat('en-GB', { timeZoneName: 'short' }).formatToParts(at)
  return part.find((p) => p.type === 'timeZoneName')?.value ?? 'UTC'
}

/** An age: `0.4 s`, `12 s`, `3 min 10 s`. */
export function age(ms: number): string {
  const s = Math.max(0, ms) / 1000
  if (s < 9.95) return `${s.toFixed(1)} s`
  if (s < 59.5) return `${Math.round(s)} s`
  return duration(s)
}
