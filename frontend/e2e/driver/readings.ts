import type { Reading } from '../../src/lib/api/types.ts'

const iso = (ms: number) => new Date(ms).toISOString()

export function exact(value: number, unit: string, at = Date.now()): Reading {
  return { value, low: value, high: value, unit, state: 'exact', as_of: iso(at) }
}

export function within(value: number, low: number, high: number, unit: string, at = Date.now()): Reading {
  return { value, low, high, unit, state: 'bounded', as_of: iso(at) }
}

export function unknown(unit: string, why: string, at = Date.now()): Reading {
  return { value: null, low: null, high: null, unit, state: 'unknown', why, as_of: iso(at) }
}
