import { type Api, segment } from '../api/client'
import { type Ask, selection } from './ask'
import { type Row, readRecords } from './records'

/** How many of the records that arrived are kept. */
export const mostLive = 5_000
/** How many records may have arrived unseen before the list begins anew at the end. */
const mostBehind = 20_000

/** Records as they arrive, newest first, by requests that are held until there is something. */
export class LiveList {
  readonly ask: Ask
  /** What is shown. */
  rows = $state.raw<readonly Row[]>([])
  /** What arrived while the list stood still. */
  waiting = $state.raw<readonly Row[]>([])
  error = $state.raw<unknown>(null)
  /** In ms, since when it listens; 0 while it does not yet. */
  since = $state(0)
  seen = $state(0)
  /** Records that passed unseen while the tab was hidden. */
  missed = $state(0)
  readonly #api: Api
  /** How many arrived when, over the last ten seconds. */
  #arrived: { at: number; n: number }[] = []
  #held = $state(false)
  #next: Record<string, string> | null = null
  #stop: AbortController | null = null

  constructor(api: Api, ask: Ask) {
    this.#api = api
    this.ask = ask
  }

  /** Records a second over the last ten seconds. */
  rate(now: number): number {
    const from = Math.max(this.since, now - 10_000)
    const n = this.#arrived.filter((a) => a.at >= from).reduce((sum, a) => sum + a.n, 0)
    return n / Math.max(1, (now - from) / 1000)
  }

  /** Stands still, so that what is being read does not move away. */
  hold(on: boolean): void {
    this.#held = on
    if (!on) this.show()
  }

  get holding(): boolean {
    return this.#held
  }

  /** Shows what waits. */
  show(): void {
    if (this.waiting.length === 0) return
    this.rows = [...this.waiting, ...this.rows].slice(0, mostLive)
    this.waiting = []
  }

  /** Listens while the tab is seen, until the returned function is called. */
  run(): () => void {
    const turn = () => {
      if (document.visibilityState === 'hidden') {
        this.#stop?.abort()
        this.#stop = null
      } else if (!this.#stop) void this.#listen()
    }
    turn()
    document.addEventListener('visibilitychange', turn)
    return () => {
      document.removeEventListener('visibilitychange', turn)
      this.#stop?.abort()
      this.#stop = null
    }
  }

  async #listen(): Promise<void> {
    const stop = new AbortController()
    this.#stop = stop
    let pause = 1000
    while (!stop.signal.aborted) {
      try {
        await this.#look(stop.signal)
        this.error = null
        pause = 1000
      } catch (err) {
        if (stop.signal.aborted) return
        this.error = err
        await new Promise((r) => setTimeout(r, pause))
        pause = Math.min(15_000, pause * 2)
      }
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { cluster, filter, key, key_base64, partitions } = selection({ ...this.ask, where: 'newest', everywhere: true })
    const at = this.#next
      ? Object.entries(this.#next)
          .map(([p, o]) => `${p}:${o}`)
          .join(',')
      : 'ends'
    const text = await this.#api.text(
      `/topics/${segment(this.ask.topic)}/records`,
      { cluster, filter, key, key_base64, partitions, at, order: 'oldest', limit: 1000, wait_s: 10, shape: 'row', max_seconds: 2 },
      signal,
    )
    const { rows, scan } = readRecords(text)
    this.since ||= Date.now()
    const behind = scan.window.reduce((n, w) => n + Number(BigInt(w.to) - BigInt(scan.next[`${w.partition}`] ?? w.to)), 0)
    if (behind > mostBehind) {
      this.missed += behind
      this.#next = null
    } else this.#next = scan.next
    if (rows.length === 0) return
    this.seen += rows.length
    const now = Date.now()
    this.#arrived = [...this.#arrived.filter((a) => a.at > now - 10_000), { at: now, n: rows.length }]
    this.waiting = [...rows.reverse(), ...this.waiting].slice(0, mostLive)
    if (!this.#held) this.show()
  }
}
