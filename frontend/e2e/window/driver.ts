import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export const program = fileURLToPath(new URL('../../../bin/freshet-desktop', import.meta.url))
const shim = fileURLToPath(new URL('automation.c', import.meta.url))
const run = promisify(execFile)

function works(command: string, ...args: string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** What the test of the window lacks on this machine. */
export const lacking = [
  existsSync(program) || 'bin/freshet-desktop (make desktop)',
  works('pkg-config', '--exists', 'webkit2gtk-4.1') || 'libwebkit2gtk-4.1-dev',
  works('sh', '-c', 'command -v Xvfb') || 'xvfb',
  works('sh', '-c', 'command -v WebKitWebDriver') || 'webkit2gtk-driver',
  works('sh', '-c', 'command -v xdotool') || 'xdotool',
  works('sh', '-c', 'command -v gcc') || 'gcc',
].filter((what) => what !== true)

/** Asks until the answer is one. */
export async function until<T>(what: string, ask: () => Promise<T | null | undefined | false | ''>): Promise<T> {
  for (const deadline = Date.now() + 40_000; Date.now() < deadline; ) {
    const got = await ask()
    if (got) return got
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`never: ${what}`)
}

async function ended(child: ChildProcess | null, signal: NodeJS.Signals): Promise<number | null> {
  if (child && child.exitCode === null && child.signalCode === null) {
    child.kill(signal)
    await once(child, 'exit')
  }
  return child?.exitCode ?? null
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** A screen of its own, on which windows are opened and driven. */
export class Screen {
  readonly dir = mkdtempSync(join(tmpdir(), 'freshet-window-'))
  #x: ChildProcess | null = null
  #display = ''

  async start(): Promise<this> {
    const { stdout } = await run('pkg-config', ['--cflags', 'webkit2gtk-4.1'])
    // Lazily bound: the preloaded file names what only the window itself has.
    await run('gcc', ['-shared', '-fPIC', '-Wl,-z,lazy', '-o', this.preload, shim, ...stdout.trim().split(/\s+/)])
    const x = spawn('Xvfb', ['-displayfd', '3', '-screen', '0', '1440x900x24', '-nolisten', 'tcp'], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    })
    this.#x = x
    const [number] = (await once(x.stdio[3] as Readable, 'data')) as [Buffer]
    this.#display = `:${number.toString().trim()}`
    return this
  }

  get preload(): string {
    return join(this.dir, 'automation.so')
  }

  get env(): NodeJS.ProcessEnv {
    return { ...process.env, DISPLAY: this.#display, HOME: this.dir, XDG_CONFIG_HOME: join(this.dir, 'config') }
  }

  /** The id of the window that has this title, once there is one; it has the keys then. */
  async front(title: string): Promise<string> {
    const id = await until(title, async () => (await this.xdotool('search', '--onlyvisible', '--name', `^${title}$`)).split('\n')[0])
    await this.xdotool('windowfocus', '--sync', id)
    return id
  }

  /** Runs xdotool; what it cannot do yet is ''. */
  async xdotool(...args: string[]): Promise<string> {
    return run('xdotool', args, { env: this.env, timeout: 10_000 }).then(
      ({ stdout }) => stdout.trim(),
      () => '',
    )
  }

  async stop(): Promise<void> {
    await ended(this.#x, 'SIGTERM')
    rmSync(this.dir, { recursive: true, force: true })
  }
}

/** A desktop window, driven through WebKitWebDriver. */
export class DesktopWindow {
  readonly screen: Screen
  /** What it wrote, its page's console included. */
  said = ''
  #driver: ChildProcess | null = null
  #window: ChildProcess | null = null
  #base = ''
  #session = ''

  constructor(screen: Screen) {
    this.screen = screen
  }

  async open(...args: string[]): Promise<this> {
    // The window waits for the driver at the address that the driver is told to look at.
    const [inspector, port] = [await freePort(), await freePort()]
    const child = spawn(program, ['desktop', ...args], {
      env: {
        ...this.screen.env,
        LD_PRELOAD: this.screen.preload,
        WEBKIT_INSPECTOR_SERVER: `127.0.0.1:${inspector}`,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#window = child
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (b: Buffer) => (this.said += b.toString()))
    this.#driver = spawn('WebKitWebDriver', [`--port=${port}`, `--target=127.0.0.1:${inspector}`], {
      env: this.screen.env,
      stdio: 'ignore',
    })
    this.#base = `http://127.0.0.1:${port}`
    const { sessionId } = await until('a session with the window', () =>
      this.#ask<{ sessionId: string }>('POST', '/session', { capabilities: {} }).catch(() => null),
    )
    this.#session = `/session/${sessionId}`
    return this
  }

  async #ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await fetch(this.#base + path, { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })
    const { value } = (await answer.json()) as { value: T }
    if (!answer.ok) throw new Error(`${path}: ${JSON.stringify(value)}`)
    return value
  }

  /** Runs the body of a function in the page; a promise that it returns is waited for. */
  js<T>(body: string, ...args: unknown[]): Promise<T> {
    return this.#ask('POST', `${this.#session}/execute/sync`, { script: body, args })
  }

  /** The first element that the XPath names, once there is one that is shown. */
  async #find(xpath: string): Promise<string> {
    return until(xpath, async () => {
      const found = await this.#ask<Record<string, string>[]>('POST', `${this.#session}/elements`, { using: 'xpath', value: xpath })
      for (const f of found) {
        const [id = ''] = Object.values(f)
        if (await this.#ask<boolean>('GET', `${this.#session}/element/${id}/displayed`).catch(() => false)) return id
      }
      return null
    })
  }

  async click(xpath: string): Promise<void> {
    // What moves while a screen is drawn is clicked once it stands.
    let why: unknown
    await until(`a click on ${xpath}`, async () => {
      try {
        await this.#ask('POST', `${this.#session}/element/${await this.#find(xpath)}/click`, {})
        return true
      } catch (err) {
        why = err
        return false
      }
    }).catch((err) => {
      throw new Error(`${err.message}: ${why}`)
    })
  }

  async type(xpath: string, text: string): Promise<void> {
    await this.#ask('POST', `${this.#session}/element/${await this.#find(xpath)}/value`, { text })
  }

  async see(xpath: string): Promise<string> {
    return this.#ask('GET', `${this.#session}/element/${await this.#find(xpath)}/text`)
  }

  /** The memory of the window and of the web view's processes, in MB, what they share counted once. */
  pss(): number {
    const parents = new Map<number, number>()
    for (const name of readdirSync('/proc')) {
      try {
        parents.set(Number(name), Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${name}/status`, 'utf8'))?.[1]))
      } catch {} // no process, or one that has just ended
    }
    const ours = (pid: number): boolean => pid === this.#window?.pid || (parents.get(pid) ? ours(parents.get(pid) ?? 0) : false)
    return [...parents.keys()]
      .filter((pid) => pid && ours(pid))
      .reduce((sum, pid) => sum + Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]) / 1024, 0)
  }

  /** What an API path answers to the page. */
  api<T>(path: string, body?: unknown): Promise<T> {
    return this.js(
      `return fetch(arguments[0], !arguments[1] ? {} : { method: 'POST', headers: { 'X-Freshet': '1', 'Content-Type': 'application/json' },
         body: arguments[1] }).then((r) => r.json())`,
      path,
      body === undefined ? '' : JSON.stringify(body),
    )
  }

  /** Ends it as a logout does, and tells its exit code. */
  async close(): Promise<number | null> {
    await this.#ask('DELETE', this.#session).catch(() => {}) // the driver does not own the window
    const code = await ended(this.#window, 'SIGTERM')
    await ended(this.#driver, 'SIGTERM')
    return code
  }
}
