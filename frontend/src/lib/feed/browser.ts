import type { Api } from '../api/client'
import type { FeedAnswer } from '../api/types'
import type { FeedEnv, TabMessage } from './client'

const name = 'freshet-feed'

/** The feed's environment in a real browser or webview. */
export function browserEnv(api: Api): FeedEnv {
  const channel = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel(name)
  // Locks exist only in secure contexts; elsewhere each tab polls for itself.
  const locks = navigator.locks as LockManager | undefined
  return {
    poll: (after, signal) => api.get<FeedAnswer>('/feed', { after }, signal),
    lock: locks
      ? async (signal, hold) => {
          await locks.request(name, { signal }, hold)
        }
      : null,
    channel:
      channel && locks
        ? {
            post: (m) => channel.postMessage(m),
            listen: (f) => {
              const on = (e: MessageEvent<TabMessage>) => f(e.data)
              channel.addEventListener('message', on)
              return () => channel.removeEventListener('message', on)
            },
          }
        : null,
    hidden: () => document.visibilityState === 'hidden',
    onVisibility: (f) => {
      document.addEventListener('visibilitychange', f)
      return () => document.removeEventListener('visibilitychange', f)
    },
    now: () => Date.now(),
    random: Math.random,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        if (signal.aborted) return resolve()
        const done = () => {
          clearTimeout(timer)
          signal.removeEventListener('abort', done)
          resolve()
        }
        const timer = setTimeout(done, ms)
        signal.addEventListener('abort', done)
      }),
  }
}
