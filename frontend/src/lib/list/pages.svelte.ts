/** Rows that are fetched page by page as they come into view; the pages seen last are held, so many at most. */
export class Pages<T> {
  /** How many rows there are. */
  readonly count: number
  readonly size: number
  error = $state.raw<unknown>(null)
  /** Counts the pages that came: what is drawn from get depends on it. */
  #arrived = $state(0)
  readonly #load: (from: number, to: number, signal: AbortSignal) => Promise<readonly T[]>
  readonly #most: number
  readonly #held = new Map<number, readonly T[]>()
  readonly #asked = new Map<number, AbortController>()

  constructor(count: number, load: (from: number, to: number, signal: AbortSignal) => Promise<readonly T[]>, size = 200, most = 30) {
    this.count = count
    this.size = size
    this.#load = load
    this.#most = most
  }

  /** The row, where it is here. */
  get(i: number): T | undefined {
    void this.#arrived
    const page = Math.floor(i / this.size)
    return this.#held.get(page)?.[i - page * this.size]
  }

  /** Fetches what of [from, to) is not here; what is being fetched for elsewhere is given up. */
  need(from: number, to: number): void {
    const wanted = new Set<number>()
    for (let p = Math.floor(from / this.size); p * this.size < Math.min(to, this.count); p++) wanted.add(p)
    for (const [p, stop] of this.#asked)
      if (!wanted.has(p)) {
        stop.abort()
        this.#asked.delete(p)
      }
    for (const p of wanted) {
      const have = this.#held.get(p)
      if (have) {
        this.#held.delete(p)
        this.#held.set(p, have)
      } else if (!this.#asked.has(p)) void this.#fetch(p)
    }
  }

  async #fetch(p: number): Promise<void> {
    const stop = new AbortController()
    this.#asked.set(p, stop)
    try {
      const rows = await this.#load(p * this.size, Math.min(this.count, (p + 1) * this.size), stop.signal)
      if (stop.signal.aborted) return
      this.#held.set(p, rows)
      for (const oldest of this.#held.keys()) {
        if (this.#held.size <= this.#most) break
        this.#held.delete(oldest)
      }
      this.error = null
      this.#arrived++
    } catch (err) {
      if (!stop.signal.aborted) this.error = err
    } finally {
      if (this.#asked.get(p) === stop) this.#asked.delete(p)
    }
  }

  /** Ends what is being fetched. */
  stop(): void {
    for (const s of this.#asked.values()) s.abort()
    this.#asked.clear()
  }
}
