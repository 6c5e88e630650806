import { bytes, duration, plural } from '../text/format'

// What a topic's settings say, in words.

const ms = (v: string) => (v === '-1' ? 'for ever' : duration(Number(v) / 1000))
const size = (v: string) => (v === '-1' ? 'no limit' : bytes(Number(v)))

/** Settings that people ask about first, in that order. */
const words: Record<string, (v: string) => string> = {
  'cleanup.policy': (v) =>
    ({
      delete: 'old segments go by time or size',
      compact: 'keeps the newest record of each key',
      'compact,delete': 'keeps the newest of each key, until it is old',
      'delete,compact': 'keeps the newest of each key, until it is old',
    })[v.replaceAll(' ', '')] ?? '',
  'retention.ms': (v) => (v === '-1' ? 'never goes by time' : `goes after ${ms(v)}`),
  'retention.bytes': (v) => (v === '-1' ? 'never goes by size' : `at most ${size(v)} a partition`),
  'min.insync.replicas': (v) => `acks=all needs ${plural(Number(v), 'replica')} in sync`,
  'max.message.bytes': (v) => `a batch is at most ${size(v)}`,
  'segment.ms': (v) => `a segment is closed after ${ms(v)}; only closed ones go`,
  'segment.bytes': (v) => `a segment is closed at ${size(v)}`,
  'delete.retention.ms': (v) => `a tombstone is kept ${ms(v)}`,
  'min.compaction.lag.ms': (v) => (v === '0' ? 'compacted as soon as its segment is closed' : `not compacted before ${ms(v)}`),
  'max.compaction.lag.ms': (v) => (Number(v) > 3e14 ? 'compacted whenever it comes to it' : `compacted after at most ${ms(v)}`),
  'compression.type': (v) => (v === 'producer' ? 'as the producer sent it' : `stored as ${v}`),
  'message.timestamp.type': (v) => (v === 'LogAppendTime' ? 'times are the broker’s, at the append' : 'times are the producer’s'),
  'unclean.leader.election.enable': (v) =>
    v === 'true' ? 'a replica that lags may become leader, and records be lost' : 'no records are lost to an election',
}

export const wellKnown = Object.keys(words)

/** What a value means; '' where it says it all. */
export function meaning(name: string, value: string): string {
  return Object.hasOwn(words, name) ? (words[name]?.(value) ?? '') : ''
}

/** Retention in a few words: "7 d", "for ever". */
export const retention = (v: string | undefined): string => (v === undefined ? '' : ms(v))

/** The well-known first, then by name. */
export function arranged<T extends { name: string }>(entries: readonly T[]): T[] {
  const place = (e: T) => {
    const i = wellKnown.indexOf(e.name)
    return i < 0 ? wellKnown.length : i
  }
  return [...entries].sort((a, b) => place(a) - place(b) || (a.name < b.name ? -1 : 1))
}
