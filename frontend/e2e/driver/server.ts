import { createReadStream, existsSync, statSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { grid, reset } from './groups.ts'
import { type History, history, type Replays, replays, samples } from './replays.ts'
import { type Scenario, scenarios, type World } from './scenarios.ts'

// Serves the built page under the product's policy, and the API with a recorded world behind it.

const dist = fileURLToPath(new URL('../../dist/', import.meta.url))
const types: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
}

export const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; frame-src 'none'; require-trusted-types-for 'script'"

export class Mock {
  world: World
  replay: Replays = replays()
  audit: History = history(62)
  /** Beginnings of paths that are not answered, as if what is behind them were down. */
  readonly down = new Set<string>()
  /** Polls held now, and the most that ever were. */
  held = 0
  mostHeld = 0
  polls = 0
  /** Every request that is not a GET. */
  acts: { path: string; body: unknown; header: string }[] = []
  /** What is answered instead, by method and path: a text as it is, a failure, or anything as JSON. */
  readonly says = new Map<string, unknown>()
  code = 'one-time'
  /** Routes that begin so do not answer. */
  failing = ''
  session = ''
  #server: Server | null = null
  #port = 0
  #seq = 0
  #wake = new Set<() => void>()
  #audit = 40

  constructor(scenario: Scenario) {
    this.world = scenarios[scenario]()
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  /** The link that a person would get. */
  get link(): string {
    return `${this.url}/#login=${this.code}`
  }

  async start(port = 0): Promise<this> {
    const server = createServer((req, res) => void this.#answer(req, res).catch(() => res.destroy()))
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
    this.#server = server
    this.#port = (server.address() as AddressInfo).port
    return this
  }

  async stop(): Promise<number> {
    const closed = new Promise((resolve) => this.#server?.close(resolve))
    this.#server?.closeAllConnections()
    await closed
    return this.#port
  }

  /** Tells the page of a change. */
  publish(): void {
    this.world.map.as_of = new Date().toISOString()
    this.#seq++
    for (const wake of this.#wake) wake()
  }

  endSession(): void {
    this.session = ''
    for (const wake of this.#wake) wake()
  }

  async #answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const url = new URL(req.url ?? '/', this.url)
    res.setHeader('Content-Security-Policy', policy)
    res.setHeader('X-Content-Type-Options', 'nosniff')
    res.setHeader('Referrer-Policy', 'no-referrer')
    if (!url.pathname.startsWith('/api/')) return this.#file(url.pathname, res)
    res.setHeader('Cache-Control', 'no-store')

    let body: unknown = null
    if (req.method !== 'GET') {
      const chunks: Buffer[] = []
      for await (const c of req) chunks.push(c as Buffer)
      body = JSON.parse(Buffer.concat(chunks).toString() || '{}')
      this.acts.push({ path: url.pathname, body, header: `${req.headers['x-freshet'] ?? ''}` })
      if (req.headers['x-freshet'] !== '1') return fail(res, 403, 'DENIED', 'a request that changes something must carry X-Freshet: 1')
    }
    if (url.pathname === '/api/session') {
      if ((body as { code?: string }).code !== this.code)
        return fail(res, 401, 'LOGIN', 'the link was used before, or is too old', 'take a new link with `freshet open`')
      this.code = ''
      this.session = 'yes'
      res.writeHead(204, { 'Set-Cookie': 'freshet=yes; HttpOnly; SameSite=Strict; Path=/' }).end()
      return
    }
    const member = () => this.session !== '' && (req.headers.cookie ?? '').includes(`freshet=${this.session}`)
    if (!member()) return fail(res, 401, 'LOGIN', 'nobody is logged in', 'take a new link with `freshet open`')
    if (url.pathname === '/api/feed') return this.#feed(url, res, member)
    const said = this.says.get(`${req.method} ${url.pathname}`)
    if (said instanceof Failure) return fail(res, said.status, 'FAILED', said.message, said.hint)
    if (typeof said === 'string') return void res.writeHead(200, { 'Content-Type': 'application/json' }).end(said)
    if (said !== undefined) return send(res, 200, said)
    if ([...this.down].some((d) => url.pathname.startsWith(`/api${d}`)))
      return fail(res, 503, 'UNAVAILABLE', 'the ledger does not answer', 'look at its disk')
    if (this.failing && url.pathname.startsWith(this.failing))
      return fail(res, 503, 'UNAVAILABLE', 'the broker does not answer', 'see `freshet status`')
    const got = this.#route(url, body)
    if (got === undefined) return fail(res, 404, 'NOT_FOUND', `no such route: ${url.pathname}`)
    send(res, 200, got)
  }

  async #feed(url: URL, res: ServerResponse, member: () => boolean): Promise<void> {
    this.polls++
    const after = Number(url.searchParams.get('after') ?? '-1')
    if (url.searchParams.has('after') && after >= this.#seq) {
      this.held++
      this.mostHeld = Math.max(this.mostHeld, this.held)
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer)
          this.#wake.delete(done)
          resolve()
        }
        const timer = setTimeout(done, 20_000)
        this.#wake.add(done)
        res.on('close', done)
      })
      this.held--
    }
    if (res.destroyed) return
    if (!member()) return fail(res, 401, 'LOGIN', 'nobody is logged in')
    const items =
      after < this.#seq
        ? [
            { topic: 'map', data: this.world.map },
            {
              topic: 'status',
              data: {
                items: [
                  { part: 'broker', state: 'ok', detail: 'local broker, single node' },
                  { part: 'capture shop', state: 'ok', detail: 'streaming' },
                ],
              },
            },
          ]
        : []
    send(res, 200, { v: 1, kind: 'feed', cursor: `${this.#seq}`, gap: false, dropped: 0, instance: 'mock', items })
  }

  #route(url: URL, body: unknown): unknown {
    const [, , noun = '', name = '', verb = '', last = ''] = url.pathname.split('/').map(decodeURIComponent)
    const w = this.world
    const own = <T>(table: Record<string, T>) => (Object.hasOwn(table, name) ? { v: 1, kind: noun, item: table[name] } : undefined)
    const receipt = () => ({
      v: 1,
      kind: `${noun}.${verb}`,
      audit: { seq: `${++this.#audit}`, size: `${this.#audit + 1}`, root: 'c0ffee9f2c41d7' },
    })
    switch (noun) {
      case 'history':
        if (name === 'grid') return grid(url.searchParams, w.groups[url.searchParams.get('group') ?? ''])
        if (name === 'sparks')
          return {
            v: 1,
            kind: 'history.sparks',
            items: (url.searchParams.get('topics') ?? '')
              .split(',')
              .map((topic) => ({ topic, values: Array.from({ length: 38 }, (_, i) => (i > 20 && i < 23 ? null : 5 + Math.sin(i) * 2)) })),
          }
        return { v: 1, kind: 'history', points: w.history(url.searchParams.get('metric') ?? '', url.searchParams) }
      case 'clusters':
        return { v: 1, kind: 'clusters.list', items: [{ name: 'embedded', type: 'embedded', brokers: ['127.0.0.1:9123'] }] }
      case 'groups': {
        if (!name)
          return {
            v: 1,
            kind: 'groups.list',
            items: Object.values(w.groups).map((g) => ({ ...g, partitions: undefined, member_list: undefined })),
          }
        const g = Object.hasOwn(w.groups, name) ? w.groups[name] : undefined
        return verb === 'reset' && g ? reset(g, body as Parameters<typeof reset>[1]) : own(w.groups)
      }
      case 'topic-rows':
        return {
          v: 1,
          kind: 'topics.rows',
          cluster: 'embedded',
          as_of: new Date().toISOString(),
          readers_as_of: new Date().toISOString(),
          items: w.rows,
        }
      case 'topics':
        if (!name) {
          const made = body as { topic: string; partitions: number }
          w.rows = [...w.rows, { topic: made.topic, partitions: made.partitions, records: '0', rate: 0, bytes: '0', cleanup: 'delete' }]
          return receipt()
        }
        if (verb === 'records')
          return {
            v: 1,
            kind: 'records',
            items: [
              {
                topic: name,
                partition: 0,
                offset: '9007199254740993',
                time: new Date().toISOString(),
                time_type: 'CreateTime',
                key: { text: '{"id":17}', base64: '', size: 9 },
                value: { text: '{"before":null,"after":{"id":17,"total":"12.00","note":"<b>bold</b>\u202e"}}', base64: '', size: 60 },
              },
            ],
            scan: { scanned: '1', matched: '1', window: [], stopped_because: 'limit', next: {} },
          }
        if (!name) return { v: 1, kind: 'topics.list', items: Object.values(w.topics) }
        return own(w.topics)
      case 'sources':
      case 'sinks': {
        const table: Record<string, unknown> = noun === 'sinks' ? w.sinks : w.sources
        if (!name) return body === null ? { v: 1, kind: `${noun}.list`, items: Object.values(table) } : receipt()
        if (name === 'plan' || verb === 'preflight') return { ...w.plan, refused: verb === '' && w.plan.refused }
        if (verb === 'test') return { v: 1, kind: `${noun}.test`, items: [{ stage: 'reach', ok: true, detail: 'it answers' }] }
        if (!verb) {
          if (body === null) return own(table)
          delete table[name]
          return receipt()
        }
        const node = w.map.nodes.find((n) => n.lane === noun.slice(0, -1) && n.ref === name)
        if (!node) return undefined
        node.state = verb === 'pause' ? 'paused' : 'on_time'
        node.why = verb === 'pause' ? `paused: ${(body as { reason?: string }).reason ?? ''}` : ''
        const done = receipt()
        w.map.events.push({
          at: new Date().toISOString(),
          kind: 'audit',
          text: `local:test ${verb}d ${name}`,
          ref: node.id,
          seq: done.audit.seq,
        })
        this.publish()
        return done
      }
      case 'replay':
        return this.#replay(name, verb, last, body)
      case 'audit': {
        if (name === 'state') return this.audit.state()
        if (name === 'verify') return this.audit.verify()
        if (verb === 'proof') return this.audit.proof(Number(name))
        return name ? undefined : { v: 1, kind: 'audit.list', ...this.audit.list(url.searchParams) }
      }
      case 'filter':
        return (body as { expression: string }).expression.includes('(')
          ? { v: 1, kind: 'filter.check', valid: false, reason: 'Syntax error: missing )', line: 1, column: 7 }
          : { v: 1, kind: 'filter.check', valid: true, tried: { records: 100, matched: 38, failed: 0 } }
      case 'demo': {
        if (!name) return { v: 1, kind: 'demo', state: w.faults ? 'running' : 'none', may_start: !w.faults }
        if (!w.faults) return undefined
        if (name === 'faults' && !verb) return { v: 1, kind: 'demo.faults', items: w.faults }
        if (name === 'load') return receipt()
        const fault = w.faults.find((f) => f.name === verb)
        if (!fault) return undefined
        fault.active = last === 'start'
        return receipt()
      }
      default:
        return undefined
    }
  }

  #replay(name: string, ref: string, verb: string, body: unknown): unknown {
    const r = this.replay
    if (!name) return { v: 1, kind: 'replay.list', items: r.items }
    if (name === 'plans' && !ref) return Object.values(r.plans)[0]
    if (name === 'plans') {
      const p = Object.hasOwn(r.plans, ref) ? r.plans[ref] : undefined
      if (!p) return undefined
      if (verb === 'dry-run') return { ...p, samples }
      if (verb === 'approve') {
        const how = body as { reject?: boolean }
        Object.assign(p, how.reject ? { state: 'REJECTED' } : { state: 'APPROVED', approvals_have: 1 })
        return {
          v: 1,
          kind: 'replay.approval',
          plan_id: ref,
          plan_hash: p.plan_hash,
          state: p.state,
          by: 'local:test',
          at: '',
          have: 1,
          need: 1,
        }
      }
      return verb === 'run' ? r.jobs.jb_running : p
    }
    const j = Object.hasOwn(r.jobs, ref) ? r.jobs[ref] : undefined
    if (!j) return undefined
    if (verb === 'parked') return { v: 1, kind: 'replay.parked', items: r.parked[ref] ?? [] }
    if (verb === 'pause') j.state = 'PAUSED'
    if (verb === 'cancel') Object.assign(j, { state: 'CANCELLED', outcome: 'cancelled' })
    if (verb === 'resume')
      Object.assign(j, {
        state: 'RUNNING',
        blocked: undefined,
        reason: undefined,
        shards: j.shards.map(({ blocked: _b, reason: _r, ...s }) => s),
      })
    return j
  }

  #file(path: string, res: ServerResponse): void {
    let file = normalize(join(dist, path))
    if (!file.startsWith(dist) || !existsSync(file) || statSync(file).isDirectory()) file = join(dist, 'index.html')
    res.writeHead(200, { 'Content-Type': types[extname(file)] ?? 'application/octet-stream' })
    createReadStream(file).pipe(res)
  }
}

/** An answer that is an error, in the API's words. */
export class Failure {
  readonly status: number
  readonly message: string
  readonly hint: string
  constructor(status: number, message: string, hint: string) {
    this.status = status
    this.message = message
    this.hint = hint
  }
}

function send(res: ServerResponse, status: number, body: unknown): void {
  res.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))
}

function fail(res: ServerResponse, status: number, code: string, message: string, hint = ''): void {
  send(res, status, { v: 1, kind: 'error', exit: 4, code, message, hint })
}
