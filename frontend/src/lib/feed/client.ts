import { ApiError, signedOut } from '../api/client'
import type { FeedAnswer, FeedItem } from '../api/types'

// One held poll a browser. The tab that holds the lock polls and hands what it gets to the others; a hidden tab lets
// the lock go. What was held stays when the server stops, with its age, and the poll comes back by itself.

export type FeedState = 'starting' | 'live' | 'behind' | 'stopped' | 'signed_out'

export interface FeedStatus {
  state: FeedState
  /** Whether this tab polls for the browser. */
  leader: boolean
  /** When the server last answered, by this machine's clock; 0 for never. */
  answeredAt: number
  /** When something last came. */
  newsAt: number
  /** Why it is stopped. */
  why: string
  /** When it is tried again, by this machine's clock; 0 where it is being tried. */
  retryAt: number
  /** Items the server says it dropped for this reader. */
  dropped: number
  instance: string
}

/** What tabs say to one another. */
export type TabMessage = { type: 'hello' } | { type: 'news'; items: FeedItem[]; status: Shared } | { type: 'status'; status: Shared }

export type Shared = Omit<FeedStatus, 'leader'>

/** What the feed needs of a browser. */
export interface FeedEnv {
  poll(after: string, signal: AbortSignal): Promise<FeedAnswer>
  /** Runs hold while this tab has the lock; null where the browser has no locks. */
  lock: ((signal: AbortSignal, hold: () => Promise<void>) => Promise<void>) | null
  channel: { post(m: TabMessage): void; listen(f: (m: TabMessage) => void): () => void } | null
  hidden(): boolean
  onVisibility(f: () => void): () => void
  now(): number
  random(): number
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

/** A poll is held for at most 20 s; an answer later than this is not coming. */
const answerWithin = 30_000
/** An empty answer that comes at once (the server holds two polls a session) is not asked for again at once. */
const emptyPause = 1_000
/** With answers but nothing new for this long, what is shown is behind. */
const behindAfter = 40_000
const backoff = { first: 500, most: 10_000 }

export const starting: Readonly<FeedStatus> = {
  state: 'starting',
  leader: false,
  answeredAt: 0,
  newsAt: 0,
  why: '',
  retryAt: 0,
  dropped: 0,
  instance: '',
}

export class FeedClient {
  readonly #env: FeedEnv
  readonly #onItems: (items: FeedItem[]) => void
  readonly #onStatus: (s: FeedStatus) => void
  readonly #latest = new Map<string, FeedItem>()
  #status: FeedStatus = starting
  #end = new AbortController()
  /** Lets go of the lock, or of the wait for it. */
  #resign: AbortController | null = null
  #wake: AbortController | null = null
  #undo: (() => void)[] = []

  constructor(env: FeedEnv, onItems: (items: FeedItem[]) => void, onStatus: (s: FeedStatus) => void) {
    this.#env = env
    this.#onItems = onItems
    this.#onStatus = onStatus
  }

  get status(): FeedStatus {
    return this.#status
  }

  start(): void {
    this.#end = new AbortController()
    const { channel } = this.#env
    if (channel) this.#undo.push(channel.listen((m) => this.#hear(m)))
    this.#undo.push(this.#env.onVisibility(() => this.#visibility()))
    channel?.post({ type: 'hello' })
    if (!this.#env.hidden()) this.#campaign()
    void this.#watch()
  }

  stop(): void {
    this.#end.abort()
    this.#resign?.abort()
    for (const f of this.#undo.splice(0)) f()
  }

  /** Tries again now instead of when the wait is over. */
  retry(): void {
    this.#wake?.abort()
    if (this.#status.state === 'signed_out') {
      this.#set({ state: 'starting', why: '' })
      this.#resign?.abort()
      this.#campaign()
    }
  }

  /** A 401 from elsewhere. */
  signOut(): void {
    if (this.#status.state === 'signed_out') return
    this.#set({ state: 'signed_out', retryAt: 0 })
    this.#resign?.abort()
    this.#tell()
  }

  #visibility(): void {
    if (this.#end.signal.aborted) return
    if (this.#env.hidden()) {
      // Without locks nobody else would poll, but a hidden page needs nothing either.
      this.#resign?.abort()
      this.#resign = null
    } else if (!this.#resign && this.#status.state !== 'signed_out') {
      this.#env.channel?.post({ type: 'hello' })
      this.#campaign()
    }
  }

  #campaign(): void {
    const resign = new AbortController()
    this.#resign = resign
    const lead = async () => {
      if (resign.signal.aborted) return
      this.#set({ leader: true })
      try {
        await this.#lead(resign.signal)
      } finally {
        this.#set({ leader: false })
      }
    }
    const done = this.#env.lock ? this.#env.lock(resign.signal, lead) : lead()
    done.catch(() => {
      // The wait for the lock was given up: a hidden tab, or the page's end.
    })
  }

  async #lead(resigned: AbortSignal): Promise<void> {
    // The first poll has no cursor: one snapshot, not the backlog of an hour in the background.
    let after = ''
    let failures = 0
    while (!resigned.aborted) {
      const began = this.#env.now()
      try {
        const answer = await this.#pollOnce(after, resigned)
        if (resigned.aborted) return
        failures = 0
        after = answer.cursor
        this.#take(answer)
        if (!answer.items.length && this.#env.now() - began < emptyPause) await this.#env.sleep(emptyPause, resigned)
      } catch (err) {
        if (resigned.aborted) return
        if (signedOut(err)) {
          this.signOut()
          return
        }
        failures++
        after = ''
        const wait = Math.min(backoff.most, backoff.first * 2 ** (failures - 1)) * (0.75 + this.#env.random() / 2)
        const why = err instanceof ApiError ? err.message : 'Freshet does not answer'
        this.#set({ state: 'stopped', why, retryAt: this.#env.now() + wait })
        this.#tell()
        this.#wake = new AbortController()
        await this.#env.sleep(wait, AbortSignal.any([resigned, this.#wake.signal]))
        this.#set({ retryAt: 0 })
      }
    }
  }

  async #pollOnce(after: string, resigned: AbortSignal): Promise<FeedAnswer> {
    const late = new AbortController()
    const over = new AbortController()
    const stop = AbortSignal.any([resigned, late.signal])
    const timer = this.#env.sleep(answerWithin, AbortSignal.any([resigned, over.signal])).then(() => {
      if (!over.signal.aborted) late.abort()
    })
    try {
      return await this.#env.poll(after, stop)
    } finally {
      over.abort()
      await timer
    }
  }

  #take(answer: FeedAnswer): void {
    const now = this.#env.now()
    const news = answer.items.length > 0
    this.#keep(answer.items)
    this.#set({
      state: news || now - this.#status.newsAt <= behindAfter ? 'live' : 'behind',
      why: '',
      retryAt: 0,
      answeredAt: now,
      newsAt: news ? now : this.#status.newsAt,
      dropped: this.#status.dropped + answer.dropped,
      instance: answer.instance,
    })
    this.#env.channel?.post({ type: 'news', items: answer.items, status: this.#shared() })
  }

  #keep(items: FeedItem[]): void {
    for (const item of items) this.#latest.set(item.topic, item)
    if (items.length) this.#onItems(items)
  }

  #hear(m: TabMessage): void {
    if (m.type === 'hello') {
      if (this.#status.leader) this.#env.channel?.post({ type: 'news', items: [...this.#latest.values()], status: this.#shared() })
      return
    }
    if (this.#status.leader) return
    if (m.type === 'news') this.#keep(m.items)
    if (this.#status.state === 'signed_out' && m.status.state === 'live' && !this.#env.hidden()) {
      // Somebody logged in again in another tab: take part once more.
      this.#set(m.status)
      this.#resign?.abort()
      this.#campaign()
      return
    }
    if (m.status.state === 'signed_out') this.#resign?.abort()
    this.#set(m.status)
  }

  /** A follower whose leader has gone quiet, and a leader that gets answers but no news, must both say so. */
  async #watch(): Promise<void> {
    while (!this.#end.signal.aborted) {
      await this.#env.sleep(1_000, this.#end.signal)
      if (this.#end.signal.aborted) return
      const { state, answeredAt, newsAt } = this.#status
      const now = this.#env.now()
      if (state !== 'live' && state !== 'behind') continue
      if (now - answeredAt > answerWithin + 5_000 && !this.#env.hidden())
        this.#set({ state: 'stopped', why: 'Freshet does not answer', retryAt: 0 })
      else if (now - newsAt > behindAfter) this.#set({ state: 'behind' })
      else if (state === 'behind') this.#set({ state: 'live' })
    }
  }

  #shared(): Shared {
    const { leader: _, ...shared } = this.#status
    return shared
  }

  #tell(): void {
    this.#env.channel?.post({ type: 'status', status: this.#shared() })
  }

  #set(change: Partial<FeedStatus>): void {
    this.#status = { ...this.#status, ...change }
    this.#onStatus(this.#status)
  }
}
