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
    void this.reload()
    return () => {
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
