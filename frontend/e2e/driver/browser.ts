import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'

let shared: Promise<Browser> | null = null

export function browser(): Promise<Browser> {
  shared ??= chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
    ],
  })
  return shared
}

export async function closeBrowser(): Promise<void> {
  await (await shared)?.close()
  shared = null
}

export interface Look {
  theme?: 'light' | 'dark'
  width?: number
  height?: number
  motion?: 'reduce' | 'no-preference'
  /** Of a context that is logged in. */
  session?: Awaited<ReturnType<BrowserContext['storageState']>>
}

export async function context(look: Look = {}): Promise<BrowserContext> {
  const made = await (await browser()).newContext({
    viewport: { width: look.width ?? 1440, height: look.height ?? 900 },
    colorScheme: look.theme ?? 'light',
    reducedMotion: look.motion ?? 'no-preference',
    timezoneId: 'Europe/Berlin',
    ...(look.session ? { storageState: look.session } : {}),
    permissions: ['clipboard-read', 'clipboard-write'],
  })
  made.setDefaultTimeout(10_000)
  return made
}

/** Everything that went wrong in a page: errors, refusals of the policy, requests elsewhere. */
export function troubles(page: Page, origin: string): string[] {
  const found: string[] = []
  page.on('pageerror', (e) => found.push(`error: ${e.stack ?? e.message}`))
  page.on('console', (m) => {
    if (m.type() === 'error' && !/Failed to load resource/.test(m.text())) found.push(`console: ${m.text()}`)
  })
  page.on('request', (r) => {
    if (!r.url().startsWith(origin) && !r.url().startsWith('data:') && !r.url().startsWith('blob:')) found.push(`request to ${r.url()}`)
  })
  page.on('dialog', (d) => {
    found.push(`dialog: ${d.message()}`)
    void d.dismiss()
  })
  return found
}
