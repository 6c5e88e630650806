import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import type {
  AuditEntry,
  AuditProof,
  AuditReport,
  AuditState,
  Counts,
  Job,
  JobShard,
  ParkedRecord,
  Plan,
  ReplayItem,
  Sample,
} from '../../src/lib/api/types.ts'

// Plans, jobs and an audit history as the API has them. The history's hashes, proofs and signatures are real.

const iso = (ms: number) => new Date(ms).toISOString()

export const nothing: Counts = {
  offsets: '0',
  seen: '0',
  written: '0',
  filtered: '0',
  dlq: '0',
  in_doubt: '0',
  lost: '0',
  control: '0',
  aborted: '0',
  compacted: '0',
}

/** A job whose partitions are that far, in offsets of 4,000 each; its counts balance. */
export function job(id: string, far: readonly number[], more: Partial<Job> = {}): Job {
  const now = Date.now()
  const each = 4000
  const shards = far.map((n, p): JobShard => {
    const filtered = Math.floor(n / 10)
    return {
      p,
      state: n === each ? 'END_REACHED' : 'RUNNING',
      start: `${9007199254740993n + BigInt(p) * 10_000n}`,
      next: `${9007199254740993n + BigInt(p) * 10_000n + BigInt(n)}`,
      end: `${9007199254740993n + BigInt(p) * 10_000n + BigInt(each)}`,
      sink_next: `${9007199254740993n + BigInt(p) * 10_000n + BigInt(n)}`,
      counts: { ...nothing, offsets: `${each}`, seen: `${n}`, written: `${n - filtered}`, filtered: `${filtered}` },
    }
  })
  const sum = (k: keyof Counts) => `${shards.reduce((s, x) => s + Number(x.counts[k]), 0)}`
  return {
    v: 1,
    kind: 'replay.job',
    job_id: id,
    plan_id: 'pl_4t2lcek6tcv3zg4lerj5',
    plan_hash: 'e4f4810c69f8ef3dd3f7b6e65e5b1a1f7f3a91c45be208d7c61fa5b7c1d2a242',
    title: 'Send the orders of the outage again',
    author: 'ana@example.com',
    actor: 'dee@example.com',
    cluster: 'embedded',
    topic: 'shop.public.orders',
    sink: 'warehouse',
    epoch: 1,
    state: far.every((n) => n === each) ? 'COMPLETED' : 'RUNNING',
    outcome: far.every((n) => n === each) ? 'clean' : null,
    counts: { ...nothing, offsets: sum('offsets'), seen: sum('seen'), written: sum('written'), filtered: sum('filtered') },
    shards,
    rate: { records_per_s: 212, cap: 400 },
    ...(far.every((n) => n === each) ? {} : { eta_s: 44 }),
    created: iso(now - 62_000),
    started: iso(now - 60_000),
    updated: iso(now - 400),
    audit: { seq: '57', size: '60', root: '58cc84c9' },
    ...more,
  }
}

const document = {
  v: 1,
  nonce: '01K9ZD1A2B3C4D5E6F7G8H9J0K',
  title: 'Send the orders of the outage again',
  reason: 'INC-4127',
  author: 'ana@example.com',
  frozen: { now: iso(Date.now() - 90_000), tz: 'UTC', seed: '1122334455667788' },
  source: {
    conn: 'embedded',
    cluster_id: 'b0GVjCMLiUVKNIN5L1LbfQ',
    topic: 'shop.public.orders',
    topic_id: '51ab62a6-535e-c833-37c1-df213c0b69e1',
    partitions: 3,
    selected_by: {
      by: 'time',
      from_ms: `${Date.now() - 900_000}`,
      to_ms: `${Date.now() - 600_000}`,
      slack_ms: '3600000',
      per_record_check: true,
    },
    ranges: [0, 1, 2].map((p) => ({
      p,
      start: `${9007199254740993n + BigInt(p) * 10_000n}`,
      end: `${9007199254744993n + BigInt(p) * 10_000n}`,
      start_epoch: 0,
      log_start: '0',
      hw: '9007199254799999',
    })),
  },
  filter: { lang: 'cel', src: 'value.after.status == "paid"', sha256: 'sha256:00', on_error: 'stop' },
  sink: {
    type: 'postgres',
    guarantee: 'effectively_once',
    conn: 'warehouse',
    database_id: '7713789472717195368/warehouse',
    write: { mode: 'upsert' },
  },
  rate: { records_per_s: 400 },
  limits: { max_records: 12_000, max_dlq: 1000, max_in_doubt: 0, accept_gaps: false, allow_overlap: false },
  undo: { mode: 'none' },
  approval: { needed: 1, ttl_s: 86_400, max_runs: 1 },
}

const change = (id: number, before: string | null, after: string, note = 'null') =>
  `{"before":${before ? `{"id":${id},"status":"${before}","total":"12.00"}` : 'null'},"after":{"id":${id},"status":"${after}","total":"12.00","loyalty":9007199254740993,"note":${note}},"source":{"schema":"public","table":"orders"},"op":"${before ? 'u' : 'c'}"}`

export const samples: Sample[] = [
  { partition: 0, offset: '9007199254740994', time: iso(Date.now() - 800_000), key: '{"id":17}', value: change(17, 'authorised', 'paid') },
  {
    partition: 1,
    offset: '9007199254750999',
    time: iso(Date.now() - 790_000),
    key: '{"id":18}',
    value: change(18, null, 'paid', '"<b>bold</b>\\u202e"'),
  },
  { partition: 2, offset: '9007199254760994', time: iso(Date.now() - 780_000), key: '0xdeadbeef', value: '0x00ff…' },
]

export function plan(more: Partial<Plan> = {}, doc: object = {}): Plan {
  const canonical = JSON.stringify({ ...document, ...doc })
  return {
    v: 1,
    kind: 'replay.plan',
    plan_id: 'pl_4t2lcek6tcv3zg4lerj5',
    plan_hash: 'e4f4810c69f8ef3dd3f7b6e65e5b1a1f7f3a91c45be208d7c61fa5b7c1d2a242',
    state: 'READY',
    title: document.title,
    author: document.author,
    created: iso(Date.now() - 90_000),
    risk: 2,
    approvals_needed: 1,
    approvals_have: 0,
    approvals: [],
    warnings: [],
    canonical,
    evidence: {
      sha256: '9c1eeb8b4aa9df23bd8293b1a3961617fad6a7fed7593a0d30b9332e37796f6a',
      at: iso(Date.now() - 60_000),
      seen: '12000',
      filtered: '9825',
      dropped: '0',
      would_write: '2171',
      would_dlq: '4',
      largest_disorder_ms: '1200',
      holes: { control: '3', aborted: '0', compacted: '0' },
      bytes: '3811220',
      est_seconds: 6,
      samples: 3,
    },
    ...more,
  }
}

const sha = (...parts: Uint8Array[]) => createHash('sha256').update(Buffer.concat(parts)).digest()
const leafHash = (leaf: string) => sha(Uint8Array.of(0), Buffer.from(leaf))

/** A history with real hashes, as backend/auditlog keeps it. */
export class History {
  readonly entries: AuditEntry[] = []
  readonly origin = 'freshet/mock'
  readonly key: string
  readonly #private: KeyObject
  readonly #id: Buffer
  leaves: string[] = []
  /** Entries that are signed; the others are newer. */
  signed = 0
  /** Leaves as they are given out, where they are not those that were signed. */
  readonly changed = new Map<number, string>()
  verified: AuditReport | undefined
  trouble: string | undefined

  constructor(entries: readonly (Omit<AuditEntry, 'seq' | 'at'> & { at?: string })[]) {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519')
    this.#private = privateKey
    const raw = Buffer.concat([Uint8Array.of(1), publicKey.export({ type: 'spki', format: 'der' }).subarray(-32)])
    this.#id = sha(Buffer.from(`${this.origin}\n`), raw).subarray(0, 4)
    this.key = `${this.origin}+${this.#id.toString('hex')}+${raw.toString('base64')}`
    let prev = Buffer.alloc(32)
    for (const [i, e] of entries.entries()) {
      const entry = { ...e, seq: `${i}`, at: e.at ?? iso(Date.now() - (entries.length - i) * 7000).replace('Z', '000Z') }
      this.entries.push(entry)
      const leaf = JSON.stringify({
        action: e.action,
        actor: e.actor,
        at: entry.at,
        ...(e.detail ? { detail: e.detail } : {}),
        ...(e.outcome ? { outcome: e.outcome } : {}),
        phase: e.phase,
        prev: prev.toString('base64'),
        ...(e.ref ? { ref: Number(e.ref) } : {}),
        seq: i,
        subject: e.subject,
        v: 1,
      })
      this.leaves.push(leaf)
      prev = leafHash(leaf)
    }
    this.signed = entries.length
  }

  root(lo: number, hi: number): Buffer {
    if (hi - lo === 1) return leafHash(this.leaves[lo] ?? '')
    const k = lo + 2 ** Math.floor(Math.log2(hi - lo - 1))
    return sha(Uint8Array.of(1), this.root(lo, k), this.root(k, hi))
  }

  #path(n: number, lo: number, hi: number): string[] {
    if (hi - lo === 1) return []
    const k = lo + 2 ** Math.floor(Math.log2(hi - lo - 1))
    return n < k
      ? [...this.#path(n, lo, k), this.root(k, hi).toString('base64')]
      : [...this.#path(n, k, hi), this.root(lo, k).toString('base64')]
  }

  note(): string {
    const text = `${this.origin}\n${this.signed}\n${this.root(0, this.signed).toString('base64')}\n`
    const sig = Buffer.concat([this.#id, sign(null, Buffer.from(text), this.#private)])
    return `${text}\n— ${this.origin} ${sig.toString('base64')}\n`
  }

  proof(seq: number): AuditProof | undefined {
    const leaf = this.changed.get(seq) ?? this.leaves[seq]
    if (leaf === undefined) return undefined
    const covered = seq < this.signed
    return {
      v: 1,
      kind: 'audit.proof',
      leaf,
      proof: covered ? this.#path(seq, 0, this.signed) : [],
      keys: [this.key],
      ...(covered ? { checkpoint: this.note() } : {}),
    }
  }

  state(): AuditState {
    return {
      v: 1,
      kind: 'audit.state',
      origin: this.origin,
      size: `${this.entries.length}`,
      signed: `${this.signed}`,
      root: this.root(0, this.signed).subarray(-4).toString('hex'),
      ...(this.verified ? { verified: this.verified } : {}),
      ...(this.trouble ? { trouble: this.trouble } : {}),
    }
  }

  verify(): AuditReport {
    this.signed = this.entries.length
    const [bad] = this.changed.keys()
    const findings =
      bad === undefined ? [] : [{ code: 'ENTRY_CHANGED', entry: `${bad}`, message: `entry ${bad} is not the one that was recorded` }]
    this.verified = {
      v: 1,
      kind: 'audit.verify',
      ok: bad === undefined,
      exit: bad === undefined ? 0 : 10,
      ...(bad === undefined ? {} : { code: 'ENTRY_CHANGED' }),
      message: findings[0]?.message ?? `every one of ${this.entries.length} entries is proved intact by a signed checkpoint`,
      db_size: `${this.entries.length}`,
      proved: `${this.entries.length}`,
      chained: '0',
      checkpoint_source: 'file:/data/checkpoints',
      findings,
      at: iso(Date.now()),
      took_s: 0.38,
      by: 'local:test',
    }
    return this.verified
  }

  list(q: URLSearchParams): { items: AuditEntry[]; next_cursor?: string } {
    const limit = Number(q.get('limit') ?? '50')
    const before = q.get('cursor') ? Number(q.get('cursor')) : this.entries.length
    const fits = (i: number) => {
      const e = this.entries[i]
      const action = q.get('action') ?? ''
      return (
        e !== undefined &&
        (this.leaves[i] ?? '').includes(q.get('text') ?? '') &&
        (!q.get('actor') || e.actor === q.get('actor')) &&
        (!q.get('subject') || e.subject === q.get('subject')) &&
        (!action || e.action === action || (action.endsWith('*') && e.action.startsWith(action.slice(0, -1))))
      )
    }
    const items: AuditEntry[] = []
    for (let i = before - 1; i >= 0; i--) {
      if (fits(i)) items.push(this.entries[i] as AuditEntry)
      if (items.length === limit && i > 0) return { items, next_cursor: `${i}` }
    }
    return { items }
  }
}

const acts: [string, string, string][] = [
  ['source.create', 'local:root', 'shop'],
  ['sink.create', 'local:root', 'warehouse'],
  ['sink.pause', 'dee@example.com', 'warehouse'],
  ['sink.resume', 'dee@example.com', 'warehouse'],
]

/** n entries: acts as intent and result, then the plan and the job. */
export function history(n: number): History {
  const list: Omit<AuditEntry, 'seq' | 'at'>[] = [
    { action: 'audit.create', actor: 'system', phase: 'note', subject: 'freshet/mock', detail: { origin: 'freshet/mock' } },
  ]
  for (let i = 0; list.length < n - 6; i++) {
    const [action, actor, subject] = acts[i % acts.length] as [string, string, string]
    list.push({ action, actor, phase: 'intent', subject, detail: { reason: `number ${i}` } })
    list.push({ action, actor, phase: 'result', ref: `${list.length - 1}`, outcome: i % 9 === 8 ? 'failed' : 'done', subject })
  }
  const planned = { subject: 'pl_4t2lcek6tcv3zg4lerj5', detail: { plan_hash: plan().plan_hash, offsets: '9007199254740993' } }
  list.push({ action: 'replay.plan', actor: 'ana@example.com', phase: 'note', ...planned })
  list.push({ action: 'replay.approve', actor: 'dee@example.com', phase: 'note', ...planned })
  list.push({ action: 'replay.run', actor: 'dee@example.com', phase: 'note', subject: 'jb_done' })
  list.push({ action: 'replay.execute', actor: 'dee@example.com', phase: 'intent', subject: 'jb_done', detail: { ranges: ['0:1-4000'] } })
  list.push({ action: 'replay.execute', actor: 'system', phase: 'result', ref: `${list.length - 1}`, outcome: 'done', subject: 'jb_done' })
  return new History(list)
}

export interface Replays {
  items: ReplayItem[]
  plans: Record<string, Plan>
  jobs: Record<string, Job>
  parked: Record<string, ParkedRecord[]>
}

const itemOf = (j: Job): ReplayItem => ({
  type: 'job',
  id: j.job_id,
  title: j.title ?? '',
  state: j.state,
  ...(j.blocked ? { blocked: j.blocked } : {}),
  ...(j.reason ? { reason: j.reason } : {}),
  ...(j.resumes ? { resumes: true } : {}),
  ...(j.outcome ? { outcome: j.outcome } : {}),
  author: j.author,
  seen: j.counts.seen,
  total: j.counts.offsets,
  ...(j.created ? { created: j.created } : {}),
})

export const hostileText = `<img src=x onerror=alert(1)>\u202e$(x)\n"'${'long'.repeat(60)}`

export function replays(): Replays {
  const full = [4000, 4000, 4000]
  const done = job('jb_done', full)
  const exceptions = job('jb_exceptions', full, { outcome: 'exceptions' })
  exceptions.counts = { ...exceptions.counts, written: '10796', dlq: '2', in_doubt: '2' }
  const broken = job('jb_broken', full, {
    state: 'BLOCKED',
    outcome: null,
    blocked: 'mismatch',
    reason: 'the sink is at 3 and the job at 4000',
  })
  broken.counts = { ...broken.counts, written: '10795' }
  const gap = job('jb_gap', [4000, 1200, 4000], {
    state: 'BLOCKED',
    blocked: 'gap',
    reason: 'shop.public.orders/1: the log no longer holds offsets',
  })
  Object.assign(gap.shards[1] ?? {}, {
    state: 'HELD',
    blocked: 'gap',
    reason: 'shop.public.orders/1: the log no longer holds offsets 9007199254752193 to 9007199254752492',
  })
  const jobs = [
    job('jb_running', [4000, 2950, 812]),
    done,
    exceptions,
    gap,
    broken,
    job('jb_down', [4000, 2000, 1000], {
      state: 'BLOCKED',
      blocked: 'sink-down',
      resumes: true,
      reason: 'connect to warehouse: connection refused',
    }),
    job('jb_paused', [4000, 2000, 1000], { state: 'PAUSED', reason: 'lunch' }),
    job('jb_failed', [400, 0, 0], { state: 'FAILED', outcome: 'failed', reason: 'the stored plan was edited' }),
    job('jb_cancelled', [4000, 400, 0], { state: 'CANCELLED', outcome: 'cancelled', reason: 'not needed' }),
    job('jb_hostile', [4000, 400, 0], {
      title: hostileText,
      author: hostileText,
      actor: hostileText,
      topic: hostileText,
      sink: hostileText,
      target: hostileText,
      reason: hostileText,
      state: 'BLOCKED',
      blocked: 'sink',
    }),
    job(
      'jb_huge',
      Array.from({ length: 1200 }, (_, i) => (i % 3 ? 4000 : i)),
    ),
  ]
  const plans = [
    plan(),
    plan(
      {
        plan_id: 'pl_hostile',
        title: hostileText,
        author: hostileText,
        reason: hostileText,
        warnings: [{ code: hostileText, detail: hostileText }],
      },
      { filter: { lang: 'cel', src: hostileText, on_error: 'dlq' }, sink: { ...document.sink, conn: hostileText } },
    ),
    plan({
      plan_id: 'pl_approved',
      state: 'APPROVED',
      approvals_have: 1,
      approvals: [
        {
          by: 'dee@example.com',
          at: iso(Date.now() - 30_000),
          not_after: iso(Date.now() + 80_000_000),
          key_id: 'ed25519:4f2a91c0',
          sig: 'ab12',
          evidence_sha256: plan().evidence?.sha256 ?? '',
        },
      ],
    }),
    plan({ plan_id: 'pl_unread', canonical: 'none' }),
    { ...plan({ plan_id: 'pl_planned', state: 'PLANNED' }), evidence: undefined } as unknown as Plan,
    plan({ plan_id: 'pl_rejected', state: 'REJECTED', reason: 'not on a Friday' }),
    plan({
      plan_id: 'pl_warned',
      warnings: [
        { code: 'TARGET_HAS_LIVE_GROUPS', detail: 'billing-worker, audit-sink' },
        { code: 'AT_LEAST_ONCE', detail: 'endpoint can be sent a record twice after a failure' },
      ],
    }),
  ]
  return {
    items: [
      ...jobs.map(itemOf),
      ...plans.map(
        (p): ReplayItem => ({
          type: 'plan',
          id: p.plan_id,
          title: p.title ?? '',
          state: p.state,
          author: p.author ?? '',
          approvals_needed: p.approvals_needed,
          ...(p.created ? { created: p.created } : {}),
        }),
      ),
    ],
    plans: Object.fromEntries(plans.map((p) => [p.plan_id, p])),
    jobs: Object.fromEntries(jobs.map((j) => [j.job_id, j])),
    parked: {
      jb_exceptions: [
        {
          topic: 'shop.public.orders',
          partition: 1,
          offset: '9007199254751993',
          kind: 'refused',
          reason: '23503 orders_customer_id_fkey',
          at: iso(Date.now() - 40_000),
        },
        {
          topic: 'shop.public.orders',
          partition: 2,
          offset: '9007199254761993',
          kind: 'no_answer',
          reason: hostileText,
          at: iso(Date.now() - 30_000),
        },
      ],
    },
  }
}
