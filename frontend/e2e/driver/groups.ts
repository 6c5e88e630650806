import type { Group, GroupPartition, HistoryGrid, ResetAnswer } from '../../src/lib/api/types.ts'
import { exact, unknown, within } from './readings.ts'

// Consumer groups of the recorded worlds: one that is behind and catching up, others that keep up, and one unknown.

const iso = (ms: number) => new Date(ms).toISOString()

export function group(name: string, topics: string[], late: boolean, now: number, of = 12): Group {
  const member = (p: number) => `${name}-${Math.floor((p * 3) / of)}-1b5c`
  const seconds = (t: number, p: number) => (late && t === 0 ? 31 + p : 0.6 + (p % 4) * 0.2)
  const partitions: GroupPartition[] = topics.flatMap((topic, t) =>
    Array.from({ length: of }, (_, partition): GroupPartition => {
      const records = late && t === 0 ? 430 + partition * 16 : 3 + partition
      const committed = 9_007_199_254_740_993n + BigInt(t * 7919 + partition)
      return {
        topic,
        partition,
        committed: `${committed}`,
        start: '0',
        end: `${committed + BigInt(records)}`,
        lag: {
          records: exact(records, 'records', now),
          seconds: within(seconds(t, partition), seconds(t, partition) - 0.4, seconds(t, partition) + 0.4, 's', now),
        },
        member: member(partition),
        state: 'behind',
      }
    }),
  )
  const sum = partitions.reduce((s, p) => s + (p.lag.records.value ?? 0), 0)
  const most = Math.max(...partitions.map((p) => p.lag.seconds.value ?? 0))
  return {
    group: name,
    cluster: 'embedded',
    protocol: 'classic',
    state: 'Stable',
    members: 3,
    topics,
    code: late ? 'behind' : 'ok',
    health: late ? 'late' : 'on_time',
    verdict: late ? `Behind by ${Math.round(most)} s, falling` : 'Up to date',
    trend: late ? 'falling' : 'steady',
    lag: { records: exact(sum, 'records', now), seconds: within(most, most - 0.4, most + 0.4, 's', now) },
    ...(late ? { caught_up_in: { value: 190, low: 160, high: 290, unit: 's', state: 'estimate', as_of: iso(now) } } : {}),
    rate_out: exact(late ? 204 : 172, 'records/s', now),
    rate_in: exact(172, 'records/s', now),
    oldest_unread: { topic: topics[0] ?? '', partition: of - 1, offset: '9007199254740993', time: iso(now - most * 1000) },
    ...(late ? { losing_in: within(604_000, 603_000, 604_800, 's', now) } : {}),
    generation: '41',
    stable_since: iso(now - 540_000),
    partitions,
    member_list: [0, 1, 2].map((i) => {
      const held = partitions.filter((p) => p.member === `${name}-${i}-1b5c`)
      return {
        id: `${name}-${i}-1b5c`,
        client_id: `${name}-${i + 1}`,
        host: `/10.4.1.2${i + 1}`,
        assigned: held.length,
        partitions: held.map(({ topic, partition }) => ({ topic, partition })),
        lag: {
          records: exact(
            held.reduce((s, p) => s + (p.lag.records.value ?? 0), 0),
            'records',
            now,
          ),
          seconds: exact(Math.max(...held.map((p) => p.lag.seconds.value ?? 0)), 's', now),
        },
        rate_out: exact(64 + i * 4, 'records/s', now),
      }
    }),
  }
}

/** A group that has committed nothing. */
export function unread(name: string, topics: string[], now: number): Group {
  const why = 'no commit in this group yet'
  return {
    ...group(name, topics, false, now),
    state: 'Stable',
    code: 'no-commit',
    health: 'unknown',
    verdict: 'Unknown: no commit in this group yet',
    trend: 'unknown',
    lag: { records: unknown('records', why, now), seconds: unknown('s', why, now) },
    rate_out: unknown('records/s', why, now),
    rate_in: unknown('records/s', why, now),
    partitions: [],
    member_list: [],
  }
}

/** Many groups, some behind, some without members, some unknown. */
export function many(n: number, now: number): Record<string, Group> {
  const one = group('x', ['shop.public.orders'], false, now)
  return Object.fromEntries(
    Array.from({ length: n }, (_, i): [string, Group] => {
      const name = `team-${String(i % 83).padStart(2, '0')}.worker-${String(i).padStart(5, '0')}`
      const late = i % 997 === 3
      return [
        name,
        {
          ...one,
          group: name,
          members: i % 11 === 0 ? 0 : 3,
          ...(late ? { health: 'late' as const, code: 'behind', verdict: 'Behind by 90 s' } : {}),
          lag: { records: exact((i * 7919) % 5000, 'records', now), seconds: exact(late ? 90 : ((i * 31) % 50) / 10, 's', now) },
        },
      ]
    }),
  )
}

export function grid(q: URLSearchParams, g: Group | undefined): HistoryGrid {
  const [from, to] = [Date.parse(q.get('from') ?? ''), Date.parse(q.get('to') ?? '')]
  const n = Number(q.get('columns') ?? 60)
  const step = (to - from) / n
  const late = g?.health === 'late'
  const rows = (g?.partitions ?? []).filter((p) => !q.get('topic') || p.topic === q.get('topic'))
  return {
    v: 1,
    kind: 'history.grid',
    metric: 'lag_seconds',
    unit: 's',
    columns: Array.from({ length: n }, (_, i) => iso(from + i * step)),
    until: iso(to),
    left_out: 0,
    rows: rows.map((p) => ({
      topic: p.topic,
      partition: p.partition,
      values: Array.from({ length: n }, (_, i) => {
        const ago = (to - from - (i + 0.5) * step) / 1000
        if (ago > 1800 && ago < 1920) return null
        const up = ago < 1250 ? Math.min(101, (1250 - ago) * 0.11) : 0
        const down = ago < 270 ? (270 - ago) * 0.22 : 0
        return late && p.topic === g?.topics[0] ? Math.max(0.4, (up - down) * (0.7 + p.partition * 0.03)) : 0.4 + (p.partition % 4) * 0.2
      }),
    })),
  }
}

let seq = 60
export function reset(g: Group, body: { topic?: string; to?: string; offsets?: string[]; apply?: boolean }): ResetAnswer {
  const named = new Map((body.offsets ?? []).map((o) => o.split(':') as [string, string]))
  const items = (g.partitions ?? [])
    .filter((p) => p.topic === body.topic)
    .map((p) => {
      const from = p.committed ?? '0'
      const to = named.get(`${p.partition}`) ?? (body.to === 'latest' ? (p.end ?? from) : (p.start ?? '0'))
      if (body.apply) p.committed = to
      return { topic: p.topic, partition: p.partition, from, to, moves: `${BigInt(to) - BigInt(from)}` }
    })
  return {
    v: 1,
    kind: 'groups.reset',
    group: g.group,
    applied: body.apply ?? false,
    items,
    audit: { seq: body.apply ? `${++seq}` : '', size: '', root: '' },
  }
}
