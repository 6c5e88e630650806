import { untrack } from 'svelte'
import { SvelteMap } from 'svelte/reactivity'
import type { History, MapPath, Point } from '../api/types'
import { over, pathSeries, refresh } from '../history'
import { pathKey } from '../map/graph'
import { readRange } from '../nav/range'
import type { Page } from '../page.svelte'

const atOnce = 3
const mostKept = 200

interface Kept {
  range: string
  at: number
  points: Point[]
}

/** The history of the paths in view, read a few at a time and again while they are; null while a path's is being read. */
export class Strips {
  readonly #page: Page
  readonly #kept = new SvelteMap<string, Kept>()
  readonly #failed = new Map<string, number>()
  #wanted: readonly MapPath[] = []
  #busy = new Set<string>()
  #stop = new AbortController()

  constructor(page: Page) {
    this.#page = page
  }

  of(p: MapPath): Point[] | null {
    return this.#kept.get(pathKey(p))?.points ?? null
  }

  /** The paths that are seen now. */
  want(paths: readonly MapPath[]): void {
    this.#wanted = paths
    untrack(() => this.#go())
  }

  run(): () => void {
    this.#stop = new AbortController()
    const timer = setInterval(() => this.#go(), 1000)
    return () => {
      clearInterval(timer)
      this.#stop.abort()
    }
  }

  #go(): void {
    if (document.visibilityState === 'hidden') return
    const { id } = this.#page.time
    const every = Math.max(15_000, refresh(this.#page.time))
    const now = Date.now()
    for (const p of this.#wanted) {
      const key = pathKey(p)
      const old = this.#kept.get(key)
      const due = !old || old.range !== id || now - old.at > every
      const lately = now - (this.#failed.get(key) ?? 0) < 10_000
      if (this.#busy.size >= atOnce) return
      if (due && !lately && !this.#busy.has(key)) void this.#read(p, key, id)
    }
  }

  async #read(p: MapPath, key: string, range: string): Promise<void> {
    const { signal } = this.#stop
    this.#busy.add(key)
    try {
      const q = over(pathSeries(p, this.#page.map?.nodes ?? []), readRange(range, Date.now()), 240)
      const { points } = await this.#page.api.get<History>('/history', q, signal)
      this.#kept.set(key, { range, at: Date.now(), points })
      this.#failed.delete(key)
      const [oldest] = this.#kept.keys()
      if (this.#kept.size > mostKept && oldest !== undefined) this.#kept.delete(oldest)
    } catch {
      // The strip stays as it was, or unread; asked again soon.
      if (!signal.aborted) this.#failed.set(key, Date.now())
    }
    this.#busy.delete(key)
    if (!signal.aborted) this.#go()
  }
}
