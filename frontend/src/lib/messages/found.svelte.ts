import { type Api, type Query, segment } from '../api/client'
import type { Scan } from '../api/types'
import { type Ask, keyAsProduced, selection } from './ask'
import { type Row, readRecords } from './records'

/** What one look may cost before it asks whether to go on. */
export const budget = { seconds: 5, bytes: 256 << 20, records: 2_000_000 }
/** How many found records are kept. */
export const mostFound = 50_000

/** Why looking stopped, in words. */
export const stopWord: Record<string, string> = {
  limit: 'enough found for now',
  end: 'all of the range is looked at',
  records: `${budget.records.toLocaleString('en-US')} records are used up`,
  bytes: '256 MiB are used up',
  time: `${budget.seconds} s are used up`,
  cancelled: 'cancelled',
  kept: `${mostFound.toLocaleString('en-US')} found records are kept, and no more`,
}

type Offsets = Record<string, string>

const asList = (o: Offsets) =>
  Object.entries(o)
    .map(([p, at]) => `${p}:${at}`)
    .join(',')

/**
 * Records found so far, and how much of the range that rests on. The range is frozen by the first answer: what arrives
 * later is not in it. It is looked through in slices of a second or two, so that what is found shows at once, until the
 * budget is used up; then a person says whether to go on.
 */
export class FoundList {
  readonly ask: Ask
  rows = $state.raw<readonly Row[]>([])
  state = $state<'looking' | 'stopped' | 'done' | 'failed'>('looking')
  /** A key of stopWord. */
  stopped = $state('')
  error = $state.raw<unknown>(null)
  /** In all: records looked at, those that match, offsets of the range and those done with. */
  scanned = $state(0)
  matched = $state(0)
  total = $state(0)
  covered = $state(0)
  /** Of this look: bytes and seconds. */
  bytes = $state(0)
  seconds = $state(0)
  /** In all. */
  tookAll = $state(0)
  note = $state('')
  unread = $state('')
  readonly backwards: boolean
  readonly #api: Api
  readonly #goal: number
  #window = $state.raw<Scan['window'] | null>(null)
  #left: Offsets = {}
  #exactKey: string | null = null
  #run: AbortController | null = null

  constructor(api: Api, ask: Ask, goal: number) {
    this.#api = api
    this.ask = ask
    this.#goal = goal
    this.backwards = ask.where === 'newest'
  }

  /** How much of the range is looked at, from 0 to 1; 1 where it is empty. */
  get share(): number {
    return this.total ? Math.min(1, this.covered / this.total) : this.#window ? 1 : 0
  }

  /** Records of the range that were looked at. A stretch that was broken off is looked at again, and counts once. */
  get looked(): number {
    return Math.min(this.scanned, this.covered)
  }

  /** What of each partition the range is. */
  get window(): Scan['window'] {
    return this.#window ?? []
  }

  /** What an export of all that is in the range and selected asks with; null while the range is not known. */
  exported(): Query | null {
    if (!this.#window) return null
    const { filter, key, key_base64 } = selection(this.ask, this.#exactKey)
    const bounds = (end: 'from' | 'to') => asList(Object.fromEntries(this.window.map((w) => [w.partition, w[end]])))
    return { filter, key, key_base64, at: bounds('from'), before: bounds('to') }
  }

  /** Looks, or goes on looking. onfirst is told when there is an answer, or none will be. */
  async more(onfirst?: () => void): Promise<void> {
    if (this.#run || this.state === 'done' || this.stopped === 'kept') return
    const run = new AbortController()
    this.#run = run
    this.state = 'looking'
    this.stopped = ''
    this.error = null
    this.bytes = 0
    this.seconds = 0
    const goal = this.rows.length + this.#goal
    let records = 0
    try {
      if (this.ask.key && !this.ask.everywhere && !this.#window) await this.#sample(run.signal)
      for (let slice = 1; !this.stopped; slice = 2) {
        const scan = await this.#look(slice, goal - this.rows.length, run.signal)
        onfirst?.()
        records += Number(scan.scanned)
        if (this.stopped) break
        if (this.rows.length >= mostFound) this.stopped = 'kept'
        else if (this.rows.length >= goal) this.stopped = 'limit'
        else if (this.seconds >= budget.seconds) this.stopped = 'time'
        else if (this.bytes >= budget.bytes) this.stopped = 'bytes'
        else if (records >= budget.records) this.stopped = 'records'
      }
      if (this.state === 'looking') this.state = 'stopped'
    } catch (err) {
      if (run.signal.aborted) {
        this.stopped = 'cancelled'
        this.state = 'stopped'
      } else {
        this.error = err
        this.state = 'failed'
        onfirst?.()
      }
    }
    this.#run = null
  }

  cancel(): void {
    this.#run?.abort()
  }

  /** How a key of the topic is written tells in which partition producers put another. */
  async #sample(signal: AbortSignal): Promise<void> {
    const text = await this.#api.text(
      this.#path,
      { cluster: this.ask.cluster, from: 'oldest', order: 'newest', limit: 1, shape: 'row' },
      signal,
    )
    this.#exactKey = keyAsProduced(readRecords(text).rows[0]?.record.key?.text, this.ask.key)
  }

  get #path(): string {
    return `/topics/${segment(this.ask.topic)}/records`
  }

  async #look(seconds: number, limit: number, signal: AbortSignal): Promise<Scan> {
    const order = this.backwards ? 'newest' : 'oldest'
    const same = selection(this.ask, this.#exactKey)
    const q = this.#window
      ? { cluster: same.cluster, filter: same.filter, key: same.key, key_base64: same.key_base64, ...this.#rest() }
      : same
    const text = await this.#api.text(
      this.#path,
      { ...q, order, limit, shape: 'row', max_seconds: seconds, max_bytes: Math.max(1, budget.bytes - this.bytes) },
      signal,
    )
    const { rows, scan } = readRecords(text)
    const first = this.#window === null
    const window = this.#window ?? scan.window
    this.#window = window
    this.#left = {}
    let [total, covered] = [0n, 0n]
    for (const w of window) {
      const [from, to] = [BigInt(w.from), BigInt(w.to)]
      const at = this.#at(scan, `${w.partition}`, w)
      total += to - from
      covered += this.backwards ? to - at : at - from
      if (this.backwards ? at > from : at < to) this.#left[`${w.partition}`] = `${at}`
    }
    this.#done = this.#progress(window)
    this.total = Number(total)
    this.covered = Number(covered)
    this.rows = [...this.rows, ...(this.backwards ? rows.reverse() : rows)]
    this.scanned += Number(scan.scanned)
    this.matched += rows.length
    this.bytes += Number(scan.bytes)
    this.seconds += scan.took_s
    this.tookAll += scan.took_s
    if (first || scan.note) this.note = scan.note ?? ''
    const unread = /\d+ batches could not be read/.exec(scan.stopped_because)
    if (unread) this.unread = unread[0]
    if (Object.keys(this.#left).length === 0) {
      this.state = 'done'
      this.stopped = 'end'
    }
    return scan
  }

  /** How far each partition was at the last answer. */
  #done: Offsets = {}

  #progress(window: Scan['window']): Offsets {
    return Object.fromEntries(window.map((w) => [w.partition, this.#left[`${w.partition}`] ?? (this.backwards ? w.from : w.to)]))
  }

  /** Where a partition goes on after an answer; one that was done with is not in it. */
  #at(scan: Scan, p: string, w: { from: string; to: string }): bigint {
    const asked = scan.window.some((x) => `${x.partition}` === p)
    if (!asked) return BigInt(this.#done[p] ?? (this.backwards ? w.from : w.to))
    if (!this.backwards) return BigInt(scan.next[p] ?? w.to)
    const older = scan.older?.[p]
    const from = BigInt(w.from)
    return older === undefined || BigInt(older) < from ? from : BigInt(older)
  }

  /** What of the frozen range is left. */
  #rest(): { at: string; before: string } {
    const bounds: Offsets = {}
    for (const w of this.#window ?? [])
      if (Object.hasOwn(this.#left, `${w.partition}`)) bounds[`${w.partition}`] = this.backwards ? w.from : w.to
    return this.backwards ? { at: asList(bounds), before: asList(this.#left) } : { at: asList(this.#left), before: asList(bounds) }
  }
}
