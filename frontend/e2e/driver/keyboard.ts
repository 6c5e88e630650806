import type { Locator, Page } from 'playwright-core'

/** A person without a mouse. */
export class Keyboard {
  readonly #page: Page
  constructor(page: Page) {
    this.#page = page
  }

  async press(...keys: string[]): Promise<void> {
    for (const k of keys) await this.#page.keyboard.press(k)
  }

  async type(text: string): Promise<void> {
    await this.#page.keyboard.type(text)
  }

  /** What has the focus: its label, and what stands in it. */
  at(): Promise<string> {
    return this.#page.evaluate(() => {
      const el = document.activeElement
      const labels =
        el instanceof HTMLInputElement || el instanceof HTMLTextAreaElement || el instanceof HTMLSelectElement
          ? [...(el.labels ?? [])].map((l) => l.textContent).join(' ')
          : ''
      return `${el?.getAttribute('aria-label') ?? ''} ${labels} ${el?.textContent ?? ''}`.trim()
    })
  }

  /** Presses Tab until the focus is on what is called so. */
  async tabTo(name: RegExp, back = false): Promise<void> {
    const met: string[] = []
    for (let i = 0; i < 80; i++) {
      await this.press(back ? 'Shift+Tab' : 'Tab')
      const at = await this.at()
      if (name.test(at)) return
      met.push(at.replace(/\s+/g, ' ').slice(0, 40))
    }
    throw new Error(`Tab does not come to ${name}, but to ${met.join(' | ')}`)
  }

  /** Presses Tab until the focus is on it. */
  async onto(what: Locator): Promise<void> {
    await what.waitFor()
    const there = () => what.evaluate((el) => el === document.activeElement)
    for (let i = 0; i < 80; i++) {
      await this.press('Tab')
      if (await there()) return
    }
    throw new Error(`Tab does not come to ${what}`)
  }

  /** On a plan that was tried: approves it, then runs it. */
  async approveAndRun(): Promise<void> {
    for (const act of ['Approve', 'Run']) {
      await this.#page.getByRole('button', { name: new RegExp(`^${act} .*…$`) }).waitFor()
      await this.tabTo(new RegExp(`^${act} .*…$`))
      await this.press('Enter')
      await this.tabTo(new RegExp(`^${act} [0-9a-f]{8}$`))
      await this.press('Enter')
    }
  }
}
