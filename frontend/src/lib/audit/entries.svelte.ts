import type { Query } from '../api/client'
import type { AuditEntry } from '../api/types'

export interface AuditPage {
  items: AuditEntry[]
  next_cursor?: string
}

type Load = (q: Query, signal: AbortSignal) => Promise<AuditPage>

/** Entries newest first, fetched page by page on demand; what is newer comes before them. */
export class Entries {
  items = $state.raw<readonly AuditEntry[]>([])
  /** Where to go on; '' at the end, null before the first answer. */
  next = $state<string | null>(null)
  error = $state.raw<unknown>(null)
  busy = $state(false)
  /** Pages in a row in which nothing was found: the search goes on by itself for a while only. */
  idle = $state(0)
  readonly #load: Load
  readonly #query: Query
  readonly #stop = new AbortController()

  constructor(load: Load, query: Query) {
    this.#load = load
    this.#query = query
  }

  stop(): void {
    this.#stop.abort()
  }

  /** Whether more() is worth a try without a person's word. */
  get goesOn(): boolean {
    return this.next !== '' && !this.busy && this.error === null && this.idle < 5
  }

  /** The next page. */
  async more(): Promise<void> {
    if (this.busy || this.next === '') return
    this.busy = true
    this.error = null
    try {
      const page = await this.#load({ ...this.#query, cursor: this.next ?? '' }, this.#stop.signal)
      if (this.#stop.signal.aborted) return
      this.items = [...this.items, ...page.items]
      this.next = page.next_cursor ?? ''
      this.idle = page.items.length ? 0 : this.idle + 1
    } catch (err) {
      if (this.#stop.signal.aborted) return
      this.error = err
    }
    this.busy = false
  }

  again(): void {
    this.idle = 0
    void this.more()
  }

  /** What was added since: at most a page of it, and where that does not reach what is held, the list begins anew. */
  async fresh(): Promise<void> {
    if (this.next === null || this.busy) return
    try {
      const page = await this.#load(this.#query, this.#stop.signal)
      if (this.#stop.signal.aborted || this.busy) return
      const newest = this.items[0]
      const at = newest ? page.items.findIndex((e) => e.seq === newest.seq) : -1
      if (at === 0) return
      if (at > 0) this.items = [...page.items.slice(0, at), ...this.items]
      else if (page.items.length) {
        this.items = page.items
        this.next = page.next_cursor ?? ''
      }
    } catch {
      // The next round asks again; what is held stays.
    }
  }
}
