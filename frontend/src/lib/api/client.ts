import type { ApiErrorBody } from './types'

/** An answer that is not a success, in the API's words. */
export class ApiError extends Error {
  readonly status: number
  readonly code: string
  readonly hint: string

  constructor(status: number, body: Partial<ApiErrorBody>) {
    super(body.message || `the server answered ${status}`)
    this.status = status
    this.code = body.code ?? ''
    this.hint = body.hint ?? ''
  }
}

/** Nobody is logged in, or no longer. */
export function signedOut(err: unknown): boolean {
  return err instanceof ApiError && err.status === 401
}

export type Query = Record<string, string | number | undefined>

export function query(q: Query): string {
  const params = new URLSearchParams()
  for (const [k, v] of Object.entries(q)) if (v !== undefined && v !== '') params.set(k, `${v}`)
  const text = params.toString()
  return text ? `?${text}` : ''
}

/** One segment of a route. */
export const segment = encodeURIComponent

export class Api {
  readonly #fetch: typeof fetch
  /** Called on every 401, wherever it comes from. */
  onSignedOut: () => void = () => {}

  constructor(fetcher: typeof fetch = (...args) => fetch(...args)) {
    this.#fetch = fetcher
  }

  get<T>(path: string, q: Query = {}, signal?: AbortSignal): Promise<T> {
    return this.#send<T>('GET', `/api${path}${query(q)}`, undefined, signal)
  }

  /** The answer as it was written, for one whose numbers JavaScript cannot hold. */
  async text(path: string, q: Query = {}, signal?: AbortSignal): Promise<string> {
    return (await this.#ask('GET', `/api${path}${query(q)}`, undefined, signal)).text()
  }

  post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
    return this.#send<T>('POST', `/api${path}`, body, signal)
  }

  delete<T>(path: string, signal?: AbortSignal): Promise<T> {
    return this.#send<T>('DELETE', `/api${path}`, undefined, signal)
  }

  /** Trades the one-time code of a link for a session. */
  async login(code: string): Promise<void> {
    await this.#send('POST', '/api/session', { code })
  }

  async #send<T>(method: string, url: string, body: unknown, signal?: AbortSignal): Promise<T> {
    const answer = await this.#ask(method, url, body, signal)
    return answer.status === 204 ? (undefined as T) : ((await answer.json()) as T)
  }

  async #ask(method: string, url: string, body: unknown, signal?: AbortSignal): Promise<Response> {
    const init: RequestInit = {
      method,
      credentials: 'same-origin',
      cache: 'no-store',
      headers: { Accept: 'application/json' },
    }
    if (method !== 'GET') {
      init.headers = { Accept: 'application/json', 'Content-Type': 'application/json', 'X-Freshet': '1' }
      init.body = JSON.stringify(body ?? {})
    }
    if (signal) init.signal = signal
    let answer: Response
    try {
      answer = await this.#fetch(url, init)
    } catch (err) {
      if (signal?.aborted) throw err
      throw new ApiError(0, {
        message: 'Freshet does not answer',
        hint: 'see whether it still runs: freshet status',
        code: 'UNREACHABLE',
      })
    }
    if (answer.ok) return answer
    const failed = new ApiError(answer.status, await answer.json().catch(() => ({})))
    if (answer.status === 401) this.onSignedOut()
    throw failed
  }
}
