/** What is on the page now. */
const running = new Set<{ error: unknown; reload: () => Promise<void> }>()

/** The server answers again: what failed is asked at once, and not only when its time has come. */
export function askAgain(): void {
  for (const d of running) if (d.error) void d.reload()
}

/** Something fetched for a panel: what is held stays while it is fetched again, and a failure is said beside it. */
export class Detail<T> {
  data = $state.raw<T | null>(null)
  error = $state.raw<unknown>(null)
  busy = $state(false)
  readonly #load: (signal: AbortSignal) => Promise<T>
  readonly #every: number
  #stop: AbortController | null = null
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(load: (signal: AbortSignal) => Promise<T>, everyMs: number) {
    this.#load = load
    this.#every = everyMs
  }

  /** Fetches now and then every so often while the tab is seen, until the returned function is called. */
  run(): () => void {
    running.add(this)
    void this.reload()
    return () => {
      running.delete(this)
      this.#stop?.abort()
      clearTimeout(this.#timer)
    }
  }

  reload = async (): Promise<void> => {
    this.#stop?.abort()
    clearTimeout(this.#timer)
    const stop = new AbortController()
    this.#stop = stop
    this.busy = true
    try {
      if (document.visibilityState !== 'hidden' || this.data === null) {
        const got = await this.#load(stop.signal)
        if (stop.signal.aborted) return
        this.data = got
        this.error = null
      }
    } catch (err) {
      if (stop.signal.aborted) return
      this.error = err
    }
    this.busy = false
    this.#timer = setTimeout(this.reload, this.#every)
  }
}

/** What was read last, so that a screen that is opened again shows it at once: the newest so many questions. */
const kept = new Map<string, unknown>()
const mostKept = 40

function keep(key: string, data: unknown): void {
  kept.delete(key)
  kept.set(key, data)
  const [oldest] = kept.keys()
  if (kept.size > mostKept && oldest !== undefined) kept.delete(oldest)
}

/** What was kept is another instance's, or another person's. */
export function forgetKept(): void {
  kept.clear()
}

/**
 * A detail that follows a question: asked anew when the question changes, again every so often while the component is
 * there, and shown from what was held before. null: nothing is asked. To be called while a component is made.
 */
export function following<Q, T>(
  name: string,
  question: () => Q | null,
  load: (q: Q, signal: AbortSignal) => Promise<T>,
  everyMs: number | ((q: Q) => number),
): { readonly now: Detail<T> | null } {
  const text = $derived(JSON.stringify(question()))
  const detail = $derived.by(() => {
    const q = JSON.parse(text) as Q | null
    if (q === null) return null
    const key = `${name} ${text}`
    const made = new Detail<T>(
      async (signal) => {
        const got = await load(q, signal)
        keep(key, got)
        return got
      },
      typeof everyMs === 'number' ? everyMs : everyMs(q),
    )
    if (kept.has(key)) made.data = kept.get(key) as T
    return made
  })
  $effect(() => detail?.run())
  return {
    get now() {
      return detail
    },
  }
}

/** Asks again at a pace that follows what was answered. To be called while a component is made. */
export function again<T>(detail: () => Detail<T> | null, everyMs: () => number): void {
  $effect(() => {
    const [d, every] = [detail(), everyMs()]
    const timer = setInterval(() => {
      if (d && !d.busy) void d.reload()
    }, every)
    return () => clearInterval(timer)
  })
}
