import type {
  DemoFault,
  Group,
  MapData,
  MapEdge,
  MapEvent,
  MapNode,
  MapPath,
  Point,
  Reading,
  Sink,
  Source,
  SourcePlan,
  State,
  Topic,
  TopicRow,
} from '../../src/lib/api/types.ts'
import { group, many, unread } from './groups.ts'
import { hostile as manyHostile } from './hostile.ts'
import { exact, unknown, within } from './readings.ts'

export { exact, unknown, within }

// Recorded worlds that the page is looked at in. Times are relative to now, so that charts have something to show.

const iso = (ms: number) => new Date(ms).toISOString()

export interface World {
  map: MapData
  faults: DemoFault[] | null
  groups: Record<string, Group>
  sources: Record<string, Source>
  sinks: Record<string, Sink>
  topics: Record<string, Topic>
  rows: TopicRow[]
  /** What a plan, and a preflight, say. */
  plan: SourcePlan
  history(metric: string, query: URLSearchParams): Point[]
}

const tables = [
  { name: 'customers', rate: 9 },
  { name: 'inventory', rate: 64 },
  { name: 'order_lines', rate: 486 },
  { name: 'orders', rate: 172 },
  { name: 'payments', rate: 131 },
  { name: 'products', rate: 3.2 },
  { name: 'shipments', rate: 88 },
]

const reads: Record<string, string[]> = {
  fulfilment: ['orders', 'order_lines', 'shipments'],
  analytics: ['orders', 'payments', 'customers'],
  'search-indexer': ['products', 'inventory'],
}

interface Options {
  kind?: MapData['profile']['kind']
  /** States of paths, by table > end. */
  late?: Record<string, { state: State; seconds: number; trend: MapPath['trend']; eta?: number }>
  paused?: string
  dead?: string
  fraud?: boolean
}

function world(o: Options): World {
  const now = Date.now()
  const nodes: MapNode[] = []
  const edges: MapEdge[] = []
  const paths: MapPath[] = []
  const topic = (t: string) => `shop.public.${t}`
  const rate = (t: string) => exact(tables.find((x) => x.name === t)?.rate ?? 0, 'records/s', now)

  nodes.push({
    id: 'source:shop',
    lane: 'source',
    name: 'PostgreSQL shop',
    ref: 'shop',
    state: 'on_time',
    rate: exact(953.2, 'records/s', now),
    note: '7 tables',
    trend: 'steady',
  })
  for (const t of tables) {
    nodes.push({
      id: `topic:${topic(t.name)}`,
      lane: 'topic',
      name: topic(t.name),
      ref: topic(t.name),
      state: 'on_time',
      delay: within(0.31, 0.2, 0.42, 's', now),
      rate: rate(t.name),
      note: '1 partition',
      trend: 'steady',
    })
    edges.push({
      id: `source:shop>topic:${topic(t.name)}`,
      from: 'source:shop',
      to: `topic:${topic(t.name)}`,
      state: 'on_time',
      delay: within(0.31, 0.22, 0.44, 's', now),
      rate: rate(t.name),
    })
  }

  const end = (kind: 'group' | 'sink', name: string, those: string[], note: string) => {
    const id = `${kind}:${name}`
    let state: State = 'on_time'
    let worst: Reading = within(0.9, 0.7, 1.2, 's', now)
    let trend: MapPath['trend'] = 'steady'
    let total = 0
    for (const t of those) {
      const say = o.late?.[`${t}>${name}`]
      const wait = say ? say.seconds - 0.31 : 0.4 + (t.length % 5) * 0.09
      const seconds = say?.seconds ?? wait + 0.31
      const s = say?.state ?? 'on_time'
      const reading = within(seconds, Math.max(0, seconds - (say ? 0.5 : 0.12)), seconds + (say ? 0.5 : 0.16), 's', now)
      total += tables.find((x) => x.name === t)?.rate ?? 0
      if (say && seconds > (worst.value ?? 0)) {
        state = s
        worst = reading
        trend = say.trend
      }
      edges.push({
        id: `topic:${topic(t)}>${id}`,
        from: `topic:${topic(t)}`,
        to: id,
        state: s,
        delay: within(wait, Math.max(0, wait - 0.1), wait + 0.1, 's', now),
        rate: rate(t),
        lag: exact(Math.round((tables.find((x) => x.name === t)?.rate ?? 0) * wait), 'records', now),
      })
      paths.push({
        path: `${t} → ${name}`,
        source: 'shop',
        cluster: 'embedded',
        table: `public.${t}`,
        topic: topic(t),
        to: id,
        state: s,
        objective_s: 15,
        hops: [
          { from: 'source:shop', to: 'captured', seconds: within(0.12, 0.1, 0.16, 's', now) },
          { from: 'captured', to: `topic:${topic(t)}`, seconds: within(0.19, 0.1, 0.26, 's', now) },
          { from: `topic:${topic(t)}`, to: id, seconds: within(wait, Math.max(0, wait - 0.5), wait + 0.5, 's', now) },
        ],
        total: reading,
        since: say ? iso(now - 1_111_000) : iso(now - 40_000_000),
        ...(say ? { worst: within(101.2, 100.6, 101.8, 's', now - 240_000) } : {}),
        trend: say?.trend ?? 'steady',
        ...(say?.eta
          ? { eta: { value: say.eta, low: say.eta * 0.84, high: say.eta * 1.5, unit: 's', state: 'estimate', as_of: iso(now) } }
          : {}),
      })
    }
    nodes.push({
      id,
      lane: kind,
      name,
      ref: name,
      state: o.dead === id ? 'dead' : o.paused === id ? 'paused' : state,
      why: o.dead === id ? 'connection refused; tried again every 5 s' : state === 'late' ? 'behind, and catching up' : '',
      delay: worst,
      rate: exact(total, 'records/s', now),
      note,
      trend,
    })
  }
  end('group', 'fulfilment', reads.fulfilment ?? [], '3 members')
  end('group', 'analytics', reads.analytics ?? [], '1 member')
  end('group', 'search-indexer', reads['search-indexer'] ?? [], '2 members')
  if (o.fraud) {
    nodes.push({
      id: 'group:fraud-shadow',
      lane: 'group',
      name: 'fraud-shadow',
      ref: 'fraud-shadow',
      state: 'unknown',
      why: 'no commit in this group yet',
      delay: unknown('s', 'no commit in this group yet', now),
      note: '1 member',
      trend: 'unknown',
    })
    edges.push({
      id: `topic:${topic('payments')}>group:fraud-shadow`,
      from: `topic:${topic('payments')}`,
      to: 'group:fraud-shadow',
      state: 'unknown',
      delay: unknown('s', 'no commit in this group yet', now),
      lag: unknown('records', 'no commit in this group yet', now),
    })
  }
  end(
    'sink',
    'warehouse',
    tables.map((t) => t.name),
    'postgres',
  )
  end('sink', 'webhooks', ['payments', 'shipments'], 'http, 2 parked')

  const events: MapEvent[] = o.late
    ? [
        { at: iso(now - 2_950_000), kind: 'job', text: 'replay 7f3a91c4 completed', ref: '7f3a91c4' },
        { at: iso(now - 1_250_000), kind: 'config', text: 'warehouse batch.size 500 → 50', ref: 'sink:warehouse' },
        { at: iso(now - 1_240_000), kind: 'fault', text: 'sink-outage begins', ref: 'sink:warehouse' },
        { at: iso(now - 1_111_000), kind: 'state', text: 'orders → warehouse late', ref: 'sink:warehouse' },
        { at: iso(now - 610_000), kind: 'audit', text: 'local:root paused warehouse', ref: 'sink:warehouse', seq: '41' },
        { at: iso(now - 540_000), kind: 'audit', text: 'local:root resumed warehouse', ref: 'sink:warehouse', seq: '43' },
        { at: iso(now - 300_000), kind: 'fault', text: 'sink-outage ends', ref: 'sink:warehouse' },
        { at: iso(now - 280_000), kind: 'config', text: 'warehouse batch.size 50 → 500', ref: 'sink:warehouse' },
      ]
    : [
        { at: iso(now - 2_400_000), kind: 'job', text: 'replay 7f3a91c4 completed', ref: '7f3a91c4' },
        { at: iso(now - 900_000), kind: 'audit', text: 'local:root resumed warehouse', ref: 'sink:warehouse', seq: '12' },
      ]

  const state = (id: string) => nodes.find((n) => n.id === id)?.state ?? 'unknown'
  return {
    map: {
      v: 1,
      kind: 'map',
      as_of: iso(now),
      profile: { name: o.kind === 'production' ? 'shop-prod' : 'demo', kind: o.kind ?? 'local' },
      nodes,
      edges,
      paths,
      events,
    },
    faults:
      o.kind === 'production'
        ? null
        : [
            {
              name: 'slow-consumer',
              does: 'The group analytics handles a fifth of what it could.',
              expect: 'Its lag grows in records and in seconds from the first moment on, and falls again when the fault ends.',
              active: false,
            },
            {
              name: 'stopped-consumer',
              does: 'The process of the group fulfilment is stopped (SIGSTOP): it holds its partitions and does nothing.',
              expect: 'Its lag grows within ten seconds while it still looks alive.',
              active: false,
            },
            {
              name: 'sink-outage',
              does: 'The database warehouse cuts its sessions and accepts none.',
              expect: 'The sink retries and says why; its freshness grows; when the fault ends it catches up.',
              active: !!o.late,
              ...(o.late ? { until: iso(now + 41_000) } : {}),
            },
          ],
    groups: {
      ...Object.fromEntries(
        Object.entries(reads).map(([name, those]) => [name, group(name, those.map(topic), state(`group:${name}`) === 'late', now)]),
      ),
      ...(o.fraud ? { 'fraud-shadow': unread('fraud-shadow', [topic('payments')], now) } : {}),
    },
    sources: {
      shop: {
        name: 'shop',
        type: 'postgres',
        cluster: 'embedded',
        state: 'streaming',
        tables: tables.map((t) => ({ table: `public.${t.name}`, topic: topic(t.name), key: 'id' })),
        slot: {
          name: 'freshet_shop',
          active: true,
          wal_status: 'reserved',
          retained: exact(12_582_912, 'B', now),
          safe: unknown('s', 'max_slot_wal_keep_size is -1: the slot may hold WAL without end', now),
        },
        position: { server: '0/5A2C1F48', received: '0/5A2C1F48', appended: '0/5A2C1E00', confirmed: '0/5A2BF000' },
        findings: [
          {
            level: 'warning',
            code: 'WAL_UNBOUNDED',
            text: 'The slot may fill the disk: max_slot_wal_keep_size is -1.',
            mend: "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'",
          },
        ],
      },
    },
    sinks: {
      warehouse: {
        name: 'warehouse',
        type: 'postgres',
        mode: 'upsert',
        cluster: 'embedded',
        state: o.paused === 'sink:warehouse' ? 'paused' : 'running',
        parked: '0',
        partitions: tables.map((t, i) => ({
          topic: topic(t.name),
          partition: 0,
          next: `${4_026_316 + i * 7717}`,
          state: 'running',
          at: iso(now - 900),
        })),
      },
      webhooks: {
        name: 'webhooks',
        type: 'http',
        mode: 'append',
        cluster: 'embedded',
        state: 'running',
        parked: '2',
        partitions: [],
        last_parked: [
          {
            topic: 'shop.events.PaymentSucceeded',
            partition: 0,
            offset: '55171',
            kind: 'refused',
            reason: 'status 422: the currency is none of ISO 4217',
            at: iso(now - 90_000),
          },
          {
            topic: 'shop.events.OrderPlaced',
            partition: 0,
            offset: '902',
            kind: 'decode',
            reason: 'the value could not be decoded: read JSON: unexpected end at byte 4096',
            at: iso(now - 400_000),
          },
        ],
      },
    },
    topics: Object.fromEntries(
      tables.map((t) => [
        topic(t.name),
        {
          topic: topic(t.name),
          partition_count: 1,
          records: exact(4_018_112, 'records', now),
          rate: rate(t.name),
          bytes: exact(812_646_400, 'B', now),
          config: { 'cleanup.policy': 'delete' },
          partitions: [
            { partition: 0, leader: 1, start: '0', end: '3018112', stable: '3018112', replicas: [1, 2], isr: [1, 2] },
            { partition: 1, leader: 2, start: '0', end: '1000000', stable: '1000000', replicas: [2, 1], isr: [2] },
          ],
          owner: 'Shop team',
          cleanup: 'delete',
          retention_ms: '604800000',
          written_by: 'shop',
          readers: { count: 2 },
          configs: [
            { name: 'cleanup.policy', value: 'delete', source: 'default' },
            { name: 'retention.ms', value: '604800000', source: 'topic' },
            { name: 'segment.bytes', value: '1073741824', source: 'default' },
          ],
          consumers: [
            {
              group: 'fulfilment',
              group_state: 'Stable',
              members: 3,
              partitions: 2,
              state: 'caught_up',
              lag: { records: exact(71, 'records', now), seconds: within(0.8, 0.4, 1.1, 's', now) },
            },
          ],
        } satisfies Topic,
      ]),
    ),
    rows: [
      ...tables.map(
        (t): TopicRow => ({
          topic: topic(t.name),
          partitions: 2,
          records: '4018112',
          rate: t.rate,
          bytes: '812646400',
          owner: 'Shop team',
          cleanup: 'delete',
          retention_ms: '604800000',
          written_by: 'shop',
          readers: 1,
          worst: { group: 'fulfilment', state: 'caught_up', seconds: 0.8, low: 0.4, high: 1.1 },
          last_write: iso(now - 900),
        }),
      ),
      {
        topic: 'webhooks.dead-letters',
        partitions: 1,
        records: '12',
        rate: 0,
        bytes: '1992294',
        owner: 'Shop team',
        cleanup: 'delete',
        retention_ms: '1209600000',
        last_write: iso(now - 86_400_000),
      },
      {
        topic: 'orders.v1',
        partitions: 24,
        records: '9007199254740993',
        rate: 0,
        bytes: '123000000000',
        owner: 'Shop team',
        cleanup: 'delete',
        retention_ms: '-1',
        last_write: iso(now - 94 * 86_400_000),
      },
      { topic: 'partner.feed', partitions: 6, owner: '', why: '2 of 6 partitions unknown: not the leader' },
      { topic: '__consumer_offsets', internal: true, partitions: 50, records: '900', rate: 2, bytes: '4096', cleanup: 'compact' },
    ],
    plan: {
      v: 1,
      kind: 'sources.plan',
      name: 'shop',
      server: 'PostgreSQL 17.2',
      database: 'shop',
      does: [
        'the logical replication slot freshet_shop: while Freshet does not run, the server keeps all WAL',
        'the publication freshet_shop of 2 tables, for insert, update, delete, truncate',
      ],
      remove: ["SELECT pg_drop_replication_slot('freshet_shop');", 'DROP PUBLICATION freshet_shop;'],
      tables: [
        { table: 'public.orders', topic: topic('orders'), key: 'id', replica_identity: 'full' },
        {
          table: 'public.order_lines',
          topic: topic('order_lines'),
          key: 'order_id, line',
          replica_identity: 'default',
          limit: 'before holds only the replica identity',
        },
        {
          table: 'public.gift_cards',
          topic: topic('gift_cards'),
          replica_identity: 'nothing',
          limit: 'its updates and deletes are not captured',
        },
      ],
      findings: [
        {
          level: 'warning',
          code: 'WARNING',
          text: "max_slot_wal_keep_size is -1: a slot that nobody reads fills the server's disk; set a limit (ALTER SYSTEM SET max_slot_wal_keep_size = '50GB') to lose the slot rather than the server",
          mend: "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'",
        },
      ],
      refused: false,
    },
    history: (metric, query) => history(metric, query, !!o.late && (query.get('sink') === 'warehouse' || query.get('group') !== null)),
  }
}

/** An hour with a rise, a plateau, a fall and a gap; or a quiet one. */
function history(metric: string, query: URLSearchParams, late: boolean): Point[] {
  const to = Date.parse(query.get('to') ?? '')
  const from = Date.parse(query.get('from') ?? '')
  const step = Math.max(10_000, (to - from) / 400)
  const points: Point[] = []
  for (let t = from; t <= to; t += step) {
    const ago = (to - t) / 1000
    if (ago > 1800 && ago < 1920) continue
    const noise = Math.sin(t / 47_000) * 0.12 + Math.sin(t / 13_000) * 0.08
    if (metric.startsWith('group_')) {
      const level = metric.includes('_out_') ? (late && ago < 1250 ? (ago < 270 ? 204 : 96) : 172) : 172
      const v = Math.max(0, level + Math.sin(t / 23_000) * 9)
      points.push({ at: iso(t), reading: exact(v, 'records/s', t) })
      continue
    }
    const unit = metric === 'freshness_seconds' || metric === 'lag_seconds' ? 's' : metric === 'lag_records' ? 'records' : 'records/s'
    let v = unit === 's' ? 0.8 + noise : unit === 'records' ? 90 + noise * 60 : 172 + noise * 40
    let spread = unit === 's' ? 0.2 : unit === 'records' ? 4 : 0
    if (late && unit !== 'records/s' && !/captured/.test(query.get('hop') ?? '')) {
      const up = ago < 1250 ? Math.min(101, (1250 - ago) * 0.11) : 0
      const down = ago < 270 ? (270 - ago) * 0.22 : 0
      v += (up - down) * (unit === 's' ? 1 : 140)
      if (ago < 1250) spread = unit === 's' ? 2.2 : 40
    }
    points.push({ at: iso(t), reading: within(Math.max(0, v), Math.max(0, v - spread), v + spread, unit, t) })
  }
  return points
}

function empty(): World {
  const w = world({})
  return {
    ...w,
    map: { ...w.map, nodes: [], edges: [], paths: [], events: [] },
    faults: null,
    rows: [],
    sources: {},
    sinks: {},
    topics: {},
  }
}

/** 320 nodes, some of them late. */
function huge(): World {
  const now = Date.now()
  const nodes: MapNode[] = []
  const edges: MapEdge[] = []
  const paths: MapPath[] = []
  const areas = ['billing', 'catalog', 'crm', 'fulfilment', 'identity', 'ledger', 'logistics', 'payments', 'search', 'support']
  for (const [i, a] of areas.entries()) {
    nodes.push({
      id: `source:${a}`,
      lane: 'source',
      name: `PostgreSQL ${a}`,
      ref: a,
      state: 'on_time',
      rate: exact(120 + i * 31, 'records/s', now),
      note: '22 tables',
      trend: 'steady',
    })
    for (let k = 0; k < 22; k++) {
      const t = `${a}.public.${['events', 'items', 'lines', 'accounts', 'history', 'entries'][k % 6]}_${String(k).padStart(2, '0')}`
      const state: State = i === 5 && k === 3 ? 'late' : k === 11 && i % 4 === 0 ? 'unknown' : 'on_time'
      nodes.push({
        id: `topic:${t}`,
        lane: 'topic',
        name: t,
        ref: t,
        state,
        delay: exact(state === 'late' ? 93 : 0.4, 's', now),
        rate: state === 'unknown' ? unknown('records/s', 'no round yet', now) : exact(5 + ((i * 7 + k * 13) % 90), 'records/s', now),
        note: '12 partitions',
        trend: 'steady',
      })
      edges.push({
        id: `source:${a}>topic:${t}`,
        from: `source:${a}`,
        to: `topic:${t}`,
        state,
        delay: exact(0.3, 's', now),
        rate: exact(5 + ((i * 7 + k * 13) % 90), 'records/s', now),
      })
      for (const g of [`${a}-worker-${k % 6}`, k % 5 === 0 ? 'audit-trail' : '']) {
        if (!g) continue
        const to = `group:${g}`
        if (!nodes.some((n) => n.id === to))
          nodes.push({
            id: to,
            lane: 'group',
            name: g,
            ref: g,
            state: 'on_time',
            delay: exact(0.8, 's', now),
            note: '4 members',
            trend: 'steady',
          })
        const s: State = state === 'late' ? 'late' : 'on_time'
        edges.push({
          id: `topic:${t}>${to}`,
          from: `topic:${t}`,
          to,
          state: s,
          delay: exact(s === 'late' ? 92 : 0.5, 's', now),
          rate: exact(12, 'records/s', now),
          lag: exact(6, 'records', now),
        })
        paths.push({
          path: `${t.split('.')[2]} → ${g}`,
          source: a,
          cluster: 'embedded',
          table: `public.${t.split('.')[2]}`,
          topic: t,
          to,
          state: s,
          objective_s: 30,
          hops: [
            { from: `source:${a}`, to: `topic:${t}`, seconds: exact(0.3, 's', now) },
            { from: `topic:${t}`, to, seconds: exact(s === 'late' ? 92 : 0.5, 's', now) },
          ],
          total: exact(s === 'late' ? 92.3 : 0.8, 's', now),
          since: iso(now - 400_000),

          trend: s === 'late' ? 'rising' : 'steady',
        })
      }
    }
    const sink = `sink:${a}-lake`
    nodes.push({
      id: sink,
      lane: 'sink',
      name: `${a}-lake`,
      ref: `${a}-lake`,
      state: 'on_time',
      delay: exact(1.2, 's', now),
      note: 'postgres',
      trend: 'steady',
    })
    edges.push({
      id: `group:${a}-worker-0>${sink}`,
      from: `group:${a}-worker-0`,
      to: sink,
      state: 'on_time',
      delay: exact(0.4, 's', now),
      rate: exact(44, 'records/s', now),
    })
  }
  const late = nodes.find((n) => n.id === 'group:ledger-worker-3')
  if (late) late.state = 'late'
  const w = world({})
  const some = w.rows[0] as TopicRow
  const rows = Array.from(
    { length: 10_000 },
    (_, i): TopicRow => ({
      ...some,
      topic: `${areas[i % 10]}.stream-${String(i).padStart(5, '0')}`,
      owner: `${areas[i % 10]} team`,
      rate: i % 97,
    }),
  )
  const shop = w.sources.shop as Source
  const wide = Array.from({ length: 1000 }, (_, i) => ({
    table: `public.table_${String(i).padStart(4, '0')}`,
    topic: `shop.public.table_${i}`,
  }))
  return { ...w, map: { ...w.map, nodes, edges, paths, events: [] }, faults: null, rows, sources: { shop: { ...shop, tables: wide } } }
}

/** Names and texts that try to be more than text. */
const harmful = [
  '<img src=x onerror=alert(1)>',
  'a\u202egnp.exe',
  '\u001b[31mred\u0000',
  `${'very.long.'.repeat(30)}end`,
  '{{constructor.constructor("alert(1)")()}}',
  '"><script>alert(1)</script>',
  'zero\u200bwidth',
  '__proto__',
]

/** Also under __proto__, which an assignment would not add. */
function put<T>(map: Record<string, T>, name: string, value: T): void {
  Object.defineProperty(map, name, { value, enumerable: true, configurable: true, writable: true })
}

function hostile(evil: readonly string[] = harmful): World {
  const w = world({ fraud: true })
  evil.forEach((name, i) => {
    const id = `group:${name}`
    w.map.nodes.push({
      id,
      lane: 'group',
      name,
      ref: name,
      state: 'unknown',
      why: name,
      delay: unknown('s', name),
      note: name,
      trend: 'unknown',
    })
    w.map.edges.push({
      id: `topic:shop.public.orders>${id}`,
      from: 'topic:shop.public.orders',
      to: id,
      state: 'unknown',
      delay: unknown('s', name),
    })
    w.map.events.push({ at: iso(Date.now() - 200_000 * (i + 1)), kind: 'state', text: name, ref: name })
    const [p] = w.map.paths
    if (p)
      w.map.paths.push({
        ...p,
        path: `${name} → ${name}`,
        table: name,
        state: 'unknown',
        why: name,
        total: unknown('s', name),
        hops: [{ from: name, to: name, seconds: unknown('s', name) }],
      })
    w.rows.push({
      topic: name,
      partitions: 1,
      records: '1',
      rate: 0,
      bytes: '1',
      owner: name,
      cleanup: name,
      why: name,
      readers: 1,
      worst: { group: name, state: name, seconds: null, low: null, high: null, why: name },
    })
    put(w.sinks, name, { ...(w.sinks.webhooks as Sink), name, state: name, why: name, topics: [name] })
    put(w.sources, name, { ...(w.sources.shop as Source), name, why: name, state: 'stopped' })
    put(w.groups, name, {
      ...(w.groups.analytics as Group),
      group: name,
      verdict: name,
      state: name,
      member_list: [
        {
          id: name,
          client_id: name,
          host: name,
          assigned: 1,
          partitions: [],
          lag: { records: unknown('records', name), seconds: unknown('s', name) },
        },
      ],
    })
    w.faults?.push({ name, does: name, expect: name, active: i % 2 === 0 })
  })
  w.map.profile.name = evil[0] ?? ''
  return w
}

const warehouseLate: Options['late'] = {
  'orders>warehouse': { state: 'late', seconds: 42, trend: 'falling', eta: 190 },
  'order_lines>warehouse': { state: 'at_risk', seconds: 11.4, trend: 'falling', eta: 40 },
}

export const scenarios = {
  healthy: () => world({}),
  late: () => world({ late: warehouseLate, fraud: true }),
  behind: () => world({ late: { 'orders>fulfilment': { state: 'late', seconds: 42, trend: 'falling', eta: 190 } }, fraud: true }),
  production: () => world({ kind: 'production', late: warehouseLate, fraud: true }),
  paused: () => world({ paused: 'sink:warehouse' }),
  dead: () => world({ dead: 'sink:warehouse', late: { 'orders>warehouse': { state: 'late', seconds: 312, trend: 'rising' } } }),
  unknown: () => {
    const w = world({ fraud: true })
    for (const n of w.map.nodes)
      if (n.lane !== 'source')
        Object.assign(n, {
          state: 'unknown',
          why: 'the first round is not over',
          delay: unknown('s', 'the first round is not over'),
          rate: unknown('records/s', 'the first round is not over'),
        })
    for (const e of w.map.edges)
      Object.assign(e, { state: 'unknown', delay: unknown('s', 'the first round is not over'), rate: undefined, lag: undefined })
    for (const p of w.map.paths)
      Object.assign(p, {
        state: 'unknown',
        total: unknown('s', 'the first round is not over'),
        hops: p.hops.map((h) => ({ ...h, seconds: unknown('s', 'the first round is not over') })),
      })
    w.history = () => []
    return w
  },
  many: () => {
    const w = world({})
    return { ...w, groups: { ...w.groups, ...many(5000, Date.now()) } }
  },
  huge,
  empty,
  hostile: () => hostile(),
  'hostile many': () => hostile(manyHostile),
}

export type Scenario = keyof typeof scenarios
