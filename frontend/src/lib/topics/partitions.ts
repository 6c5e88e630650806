import type { TopicPartition } from '../api/types'
import { plural } from '../text/format'

/** A partition as it is listed: how many records it holds, and how much of the topic that is. */
export interface Part {
  p: TopicPartition
  /** Offsets between start and end; null where they are not known. Below 2^53 exact, else good enough for a share. */
  records: bigint | null
  /** Percent of the topic's records. */
  share: number | null
  /** Replicas that are not in sync; null where they are not told. */
  behind: number | null
}

export function parts(all: readonly TopicPartition[]): Part[] {
  const held = all.map((p) => (p.start !== undefined && p.end !== undefined ? BigInt(p.end) - BigInt(p.start) : null))
  const sum = held.reduce<bigint>((s, n) => s + (n ?? 0n), 0n)
  return all.map((p, i) => {
    const records = held[i] ?? null
    return {
      p,
      records,
      share: records === null || sum === 0n ? null : Number((records * 10_000n) / sum) / 100,
      behind: p.replicas?.length ? p.replicas.filter((r) => !(p.isr ?? []).includes(r)).length : null,
    }
  })
}

/** How the partitions are, in a sentence: what cannot be read, what has no leader, what lacks replicas, how even they are. */
export function judged(all: readonly Part[]): { state: 'late' | 'at_risk' | 'on_time'; words: string } {
  const unread = all.filter((x) => x.p.error)
  const headless = all.filter((x) => x.p.leader < 0)
  const under = all.filter((x) => (x.behind ?? 0) > 0)
  const bad = [
    headless.length ? `${plural(headless.length, 'partition')} ${headless.length === 1 ? 'has' : 'have'} no leader` : '',
    unread.length > headless.length ? `${plural(unread.length, 'partition')} could not be read` : '',
  ].filter(Boolean)
  if (bad.length) return { state: 'late', words: bad.join(', ') }
  if (under.length)
    return {
      state: 'at_risk',
      words: `${plural(under.length, 'partition')} of ${all.length} ${under.length === 1 ? 'is' : 'are'} under-replicated`,
    }
  const skew = skewOf(all)
  const even =
    skew === null ? '' : skew > 2 ? `partition ${skewed(all)} holds ${skew.toFixed(1)}× its even share` : 'records are spread evenly'
  const copies = all.every((x) => x.p.replicas?.length === 1)
    ? 'one copy of each: a lost broker is lost data'
    : all.every((x) => x.behind !== null)
      ? 'every replica in sync'
      : ''
  return { state: skew !== null && skew > 2 ? 'at_risk' : 'on_time', words: [copies, even].filter(Boolean).join(', ') }
}

/** Records a partition, on average, below which their spread says nothing. */
const leastHeld = 100

/** How many times its even share the largest partition holds; null where there are no records to compare. */
function skewOf(all: readonly Part[]): number | null {
  const shares = all.flatMap((x) => (x.share === null ? [] : [x.share]))
  const held = all.reduce<bigint>((n, x) => n + (x.records ?? 0n), 0n)
  return shares.length > 1 && held >= BigInt(shares.length * leastHeld) ? (Math.max(...shares) / 100) * shares.length : null
}

const skewed = (all: readonly Part[]) => all.reduce((m, x) => ((x.share ?? 0) > (m.share ?? 0) ? x : m)).p.partition
