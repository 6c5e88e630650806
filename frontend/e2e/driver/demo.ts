import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export const program = fileURLToPath(new URL('../../../bin/freshet', import.meta.url))

/** A demo world of its own, or an instance with nothing in it yet, in a folder that goes with it. */
export class Demo {
  readonly #verb: readonly string[]
  readonly #env: NodeJS.ProcessEnv
  #dir = ''
  #process: ChildProcess | null = null
  /** The one-time login link. */
  link = ''

  constructor(kind: 'demo' | 'empty' = 'demo', env: NodeJS.ProcessEnv = {}) {
    this.#env = env
    this.#verb = kind === 'demo' ? ['demo', '--no-open'] : ['serve']
  }

  static readonly built = existsSync(program)

  async start(): Promise<this> {
    this.#dir = mkdtempSync(join(tmpdir(), 'freshet-e2e-'))
    return this.up()
  }

  /** Starts it where it was, on the port that it had. */
  async up(): Promise<this> {
    const child = spawn(program, [...this.#verb, '--data', this.#dir], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...this.#env },
    })
    this.#process = child
    let said = ''
    await new Promise<void>((resolve, reject) => {
      const hear = (chunk: Buffer) => {
        said += chunk.toString()
        this.link = /Freshet (?:demo is live|is serving): (\S+)/.exec(said)?.[1] ?? ''
        if (this.link) resolve()
      }
      child.stdout.on('data', hear)
      child.stderr.on('data', hear)
      child.once('exit', (code) => reject(new Error(`freshet ended with ${code}:\n${said}`)))
    })
    return this
  }

  get dir(): string {
    return this.#dir
  }

  get url(): string {
    return new URL(this.link).origin
  }

  /** Runs a verb on it. */
  async freshet(...args: string[]): Promise<string> {
    return (await promisify(execFile)(program, [...args, '--data', this.#dir])).stdout
  }

  /** What psql says to a statement in the shop's database, as its owner. */
  async sql(statement: string): Promise<string> {
    const [, , , port = ''] = readFileSync(join(this.#dir, 'postgres/postmaster.pid'), 'utf8').split('\n')
    const args = ['-X', '-At', '-h', '127.0.0.1', '-p', port, '-U', 'shop', '-d', 'shop', '-c', statement]
    const env = { ...process.env, PGPASSFILE: join(this.#dir, 'demo/pgpass') }
    return (await promisify(execFile)('psql', args, { env })).stdout.trim()
  }

  /** Replays the newest orders into the warehouse; the plan's name and the job's id. */
  async replayed(): Promise<{ plan: string; job: string }> {
    const json = async (...args: string[]) => JSON.parse(await this.freshet(...args, '-o', 'json')) as Record<string, string>
    const plan = await json('replay', 'plan', '--source', 'embedded/shop.public.orders', '--since', '5s', '--to', 'warehouse', '--dry-run')
    const ref = plan.plan_id ?? ''
    await json('replay', 'approve', ref, '--hash', plan.plan_hash ?? '', '--reason', 'a test')
    const job = await json('replay', 'run', ref, '--wait')
    return { plan: ref, job: job.job_id ?? '' }
  }

  /** Ends it; what it had stays. */
  async down(): Promise<void> {
    if (this.#process && this.#process.exitCode === null) {
      this.#process.kill('SIGTERM')
      await once(this.#process, 'exit')
    }
  }

  async stop(): Promise<void> {
    await this.down()
    rmSync(this.#dir, { recursive: true, force: true })
  }
}
