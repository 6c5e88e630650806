import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ApiError } from '../api/client'
import type { FeedAnswer, FeedItem } from '../api/types'
import { FeedClient, type FeedEnv, type TabMessage } from './client'

/** A browser in which time is ours: locks, a channel, and a server that holds polls. */
class Browser {
  now = 1_000_000
  tabs: Tab[] = []
  readonly #queue: { tab: Tab; signal: AbortSignal; grant: () => void }[] = []
  #held = false
  seq = 0
  instance = 'one'
  /** What a poll gets instead of an answer. */
  fail: unknown = null
  polls: { tab: Tab; after: string }[] = []
  waiting: { after: string; resolve: (a: FeedAnswer) => void; reject: (e: unknown) => void }[] = []
  latest: FeedItem[] = [{ topic: 'map', data: 0 }]
  /** Answers at once even when there is nothing new. */
  impatient = false

  open(hidden = false): Tab {
    const tab = new Tab(this, hidden)
    this.tabs.push(tab)
    tab.client.start()
    return tab
  }

  publish(data: unknown): void {
    this.seq++
    this.latest = [{ topic: 'map', data }]
    for (const w of this.waiting.splice(0)) w.resolve(this.answer(this.latest))
  }

  answer(items: FeedItem[]): FeedAnswer {
    return { v: 1, kind: 'feed', cursor: `${this.seq}`, gap: false, dropped: 0, instance: this.instance, items }
  }

  async lock(tab: Tab, signal: AbortSignal, hold: () => Promise<void>): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const entry = { tab, signal, grant: resolve }
      signal.addEventListener('abort', () => {
        const i = this.#queue.indexOf(entry)
        if (i >= 0) {
          this.#queue.splice(i, 1)
          reject(signal.reason)
        }
      })
      this.#queue.push(entry)
      this.#next()
    })
    try {
      await hold()
    } finally {
      this.#held = false
      this.#next()
    }
  }

  #next(): void {
    if (this.#held) return
    const first = this.#queue.shift()
    if (!first) return
    this.#held = true
    first.grant()
  }

  get leaders(): Tab[] {
    return this.tabs.filter((t) => t.client.status.leader)
  }
}

class Tab {
  readonly client: FeedClient
  readonly got: unknown[] = []
  hidden: boolean
  /** Its process stands still: nothing it says is heard. */
  frozen = false
  #listeners = new Set<(m: TabMessage) => void>()
  #visibility = () => {}

  constructor(b: Browser, hidden: boolean) {
    this.hidden = hidden
    const env: FeedEnv = {
      poll: (after, signal) => {
        b.polls.push({ tab: this, after })
        if (b.fail) return Promise.reject(b.fail)
        if (after !== `${b.seq}`) return Promise.resolve(b.answer(b.latest))
        if (b.impatient) return Promise.resolve(b.answer([]))
        return new Promise((resolve, reject) => {
          const w = { after, resolve, reject }
          b.waiting.push(w)
          signal.addEventListener('abort', () => {
            b.waiting = b.waiting.filter((x) => x !== w)
            reject(signal.reason)
          })
        })
      },
      lock: (signal, hold) => b.lock(this, signal, hold),
      channel: {
        post: (m) => {
          for (const t of b.tabs) if (t !== this && !this.frozen) for (const f of t.#listeners) f(structuredClone(m))
        },
        listen: (f) => {
          this.#listeners.add(f)
          return () => this.#listeners.delete(f)
        },
      },
      hidden: () => this.hidden,
      onVisibility: (f) => {
        this.#visibility = f
        return () => {
          this.#visibility = () => {}
        }
      },
      now: () => Date.now(),
      random: () => 0.5,
      sleep: (ms, signal) =>
        new Promise((resolve) => {
          if (signal.aborted) return resolve()
          const timer = setTimeout(resolve, ms)
          signal.addEventListener('abort', () => {
            clearTimeout(timer)
            resolve()
          })
        }),
    }
    this.client = new FeedClient(
      env,
      (items) => this.got.push(...items.map((i) => i.data)),
      () => {},
    )
  }

  get state(): string {
    return this.client.status.state
  }

  show(visible: boolean): void {
    this.hidden = !visible
    this.#visibility()
  }
}

const settle = () => vi.advanceTimersByTimeAsync(0)

describe('the feed', () => {
  let b: Browser
  beforeEach(() => {
    vi.useFakeTimers()
    b = new Browser()
  })
  afterEach(() => {
    for (const t of b.tabs) t.client.stop()
    vi.useRealTimers()
  })

  test('eight tabs hold one poll, and all get every change', async () => {
    const tabs = Array.from({ length: 8 }, () => b.open())
    await settle()
    expect(b.leaders).toHaveLength(1)
    expect(b.waiting).toHaveLength(1)
    for (const data of [1, 2, 3]) {
      b.publish(data)
      await settle()
    }
    for (const t of tabs) {
      expect(t.got.slice(-3)).toEqual([1, 2, 3])
      expect(t.state).toBe('live')
    }
    expect(b.waiting).toHaveLength(1)
  })

  test('a tab that opens later is told at once what is held', async () => {
    b.open()
    await settle()
    b.publish('news')
    await settle()
    const late = b.open()
    await settle()
    expect(late.got).toEqual(['news'])
    expect(late.state).toBe('live')
    expect(late.client.status.leader).toBe(false)
  })

  test('the next tab leads when the leader closes', async () => {
    const [first, second] = [b.open(), b.open()]
    await settle()
    first.client.stop()
    b.tabs.shift()
    await settle()
    expect(second.client.status.leader).toBe(true)
    b.publish('after')
    await settle()
    expect(second.got.at(-1)).toBe('after')
  })

  test('a hidden tab lets go, and gets one snapshot when it is seen again', async () => {
    const [first, second] = [b.open(), b.open()]
    await settle()
    first.show(false)
    await settle()
    expect(b.leaders).toEqual([second])
    second.show(false)
    await settle()
    expect(b.leaders).toEqual([])
    expect(b.waiting).toHaveLength(0)
    for (let i = 0; i < 100; i++) b.publish(i)
    const before = b.polls.length
    first.show(true)
    await settle()
    expect(b.polls.slice(before).map((p) => p.after)).toEqual(['', '100'])
    expect(first.got.at(-1)).toBe(99)
  })

  test('a tab that opens hidden asks nothing', async () => {
    b.open(true)
    await settle()
    expect(b.polls).toHaveLength(0)
  })

  test('a server that stops: what is held stays, it is asked less and less often, and it comes back by itself', async () => {
    const [leader, follower] = [b.open(), b.open()]
    await settle()
    b.fail = new ApiError(0, { message: 'Freshet does not answer' })
    for (const w of b.waiting.splice(0)) w.reject(b.fail)
    await settle()
    expect([leader.state, follower.state]).toEqual(['stopped', 'stopped'])
    expect(follower.client.status.why).toBe('Freshet does not answer')
    expect(leader.got).toEqual([0])
    const before = b.polls.length
    await vi.advanceTimersByTimeAsync(60_000)
    const tries = b.polls.length - before
    expect(tries).toBeGreaterThan(5)
    expect(tries).toBeLessThan(14)
    b.fail = null
    b.instance = 'two'
    b.publish('back')
    await vi.advanceTimersByTimeAsync(12_000)
    expect([leader.state, follower.state]).toEqual(['live', 'live'])
    expect(follower.got.at(-1)).toBe('back')
    expect(follower.client.status.instance).toBe('two')
  })

  test('a person can ask sooner', async () => {
    const t = b.open()
    await settle()
    b.fail = new Error('refused')
    for (const w of b.waiting.splice(0)) w.reject(b.fail)
    await vi.advanceTimersByTimeAsync(20_000)
    b.fail = null
    t.client.retry()
    await settle()
    expect(t.state).toBe('live')
  })

  test('a session that has ended is not asked again and again, and every tab says so', async () => {
    const [leader, follower] = [b.open(), b.open()]
    await settle()
    b.fail = new ApiError(401, { code: 'LOGIN' })
    for (const w of b.waiting.splice(0)) w.reject(b.fail)
    await settle()
    expect([leader.state, follower.state]).toEqual(['signed_out', 'signed_out'])
    const before = b.polls.length
    await vi.advanceTimersByTimeAsync(120_000)
    expect(b.polls.length).toBe(before)
  })

  test('a login in a new tab brings the others back', async () => {
    const old = b.open()
    await settle()
    b.fail = new ApiError(401, { code: 'LOGIN' })
    for (const w of b.waiting.splice(0)) w.reject(b.fail)
    await settle()
    expect(old.state).toBe('signed_out')
    b.fail = null
    const fresh = b.open()
    await settle()
    expect(fresh.state).toBe('live')
    expect(old.state).toBe('live')
    b.publish('both')
    await settle()
    expect(old.got.at(-1)).toBe('both')
    expect(b.leaders).toHaveLength(1)
  })

  test('an answer that never comes is given up', async () => {
    const t = b.open()
    await settle()
    await vi.advanceTimersByTimeAsync(31_000)
    expect(b.polls.length).toBeGreaterThan(2)
    expect(t.got.length).toBeGreaterThan(1)
    expect(t.state).toBe('live')
  })

  test('empty answers that come at once are paced', async () => {
    b.impatient = true
    b.open()
    await vi.advanceTimersByTimeAsync(10_000)
    expect(b.polls.length).toBeLessThan(13)
  })

  test('answers without news are behind, not live', async () => {
    b.impatient = true
    const t = b.open()
    await vi.advanceTimersByTimeAsync(45_000)
    expect(t.state).toBe('behind')
    b.publish('news')
    await vi.advanceTimersByTimeAsync(2_000)
    expect(t.state).toBe('live')
  })

  test('a follower whose leader has gone quiet says so', async () => {
    const [first, second] = [b.open(), b.open()]
    await settle()
    expect(first.client.status.leader).toBe(true)
    first.frozen = true
    await vi.advanceTimersByTimeAsync(40_000)
    expect(second.state).toBe('stopped')
  })
})
