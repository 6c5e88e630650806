import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { program } from './demo.ts'

/** An instance with its broker and nothing else, in a folder that goes with it. */
export class Serve {
  #dir = ''
  #process: ChildProcess | null = null
  #broker = ''
  url = ''

  async start(): Promise<this> {
    this.#dir = mkdtempSync(join(tmpdir(), 'freshet-e2e-'))
    const child = spawn(program, ['serve', '--data', this.#dir, '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#process = child
    let said = ''
    const run = () => {
      try {
        return JSON.parse(readFileSync(join(this.#dir, 'run.json'), 'utf8')) as { url: string; broker?: string }
      } catch {
        return null
      }
    }
    await new Promise<void>((resolve, reject) => {
      const timer = setInterval(() => {
        const now = run()
        if (!now?.broker) return
        clearInterval(timer)
        this.url = now.url
        this.#broker = now.broker
        resolve()
      }, 100)
      const hear = (chunk: Buffer) => {
        said += chunk.toString()
      }
      child.stdout.on('data', hear)
      child.stderr.on('data', hear)
      child.once('exit', (code) => {
        clearInterval(timer)
        reject(new Error(`freshet serve ended with ${code}:\n${said}`))
      })
    })
    return this
  }

  async freshet(...args: string[]): Promise<string> {
    return (await promisify(execFile)(program, [...args, '--data', this.#dir])).stdout
  }

  /** A new one-time login link. */
  async link(): Promise<string> {
    return /http\S+/.exec(await this.freshet('open'))?.[0] ?? ''
  }

  /** Makes a topic and writes lines of KEY, a tab and VALUE into it, as a Java producer would place them. */
  async produce(topic: string, partitions: number, lines: Iterable<string | Buffer>, ...flags: string[]): Promise<void> {
    await this.freshet('topics', 'create', topic, '--partitions', `${partitions}`)
    await this.add(topic, lines, ...flags)
  }

  async add(topic: string, lines: Iterable<string | Buffer>, ...flags: string[]): Promise<void> {
    const kcat = spawn(
      'kcat',
      ['-P', '-b', this.#broker, '-t', topic, '-K', '\t', '-X', 'partitioner=murmur2_random', '-X', 'linger.ms=50', ...flags],
      {
        stdio: ['pipe', 'ignore', 'pipe'],
      },
    )
    let said = ''
    kcat.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString()
    })
    const ended = once(kcat, 'exit')
    let chunk = ''
    for (const line of lines) {
      if (typeof line !== 'string') {
        kcat.stdin.write(Buffer.concat([Buffer.from(chunk), line, Buffer.from('\n')]))
        chunk = ''
        continue
      }
      chunk += `${line}\n`
      if (chunk.length < 1 << 20) continue
      if (!kcat.stdin.write(chunk)) await once(kcat.stdin, 'drain')
      chunk = ''
    }
    kcat.stdin.end(chunk)
    const [code] = await ended
    if (code !== 0) throw new Error(`kcat ended with ${code}: ${said}`)
  }

  async stop(): Promise<void> {
    if (this.#process && this.#process.exitCode === null) {
      this.#process.kill('SIGTERM')
      await once(this.#process, 'exit')
    }
    rmSync(this.#dir, { recursive: true, force: true })
  }
}
