import { chromium } from 'playwright-core'
import { execFileSync } from 'node:child_process'
const [,, data, ...specs] = process.argv
const b = await chromium.launch({executablePath:'/usr/bin/chromium', args:['--headless','--no-sandbox','--disable-gpu']})
for (const spec of specs) {
  const [name, hash, theme='light', size='1440x900', click=''] = spec.split('|')
  const [w,h] = size.split('x').map(Number)
  const ctx = await b.newContext({viewport:{width:w,height:h}, colorScheme: theme, reducedMotion:'reduce', timezoneId:'Europe/Berlin'})
  const page = await ctx.newPage()
  page.on('pageerror', e => console.log(name, 'ERR', e.message))
  page.on('console', m => { if (m.type()==='error') console.log(name, 'console', m.text()) })
  const l = execFileSync('/work/wt/topics/bin/freshet', ['open', '--data', data], {encoding:'utf8'}).match(/http\S+/)[0]
  await page.goto(l)
  await page.locator('main h1').first().waitFor({state:'attached'})
  await page.evaluate(h => { location.hash = h }, hash)
  await page.waitForTimeout(3000)
  if (click) { await page.evaluate(click); await page.waitForTimeout(1000) }
  await page.screenshot({path: `/tmp/shots/${name}.png`})
  await ctx.close()
}
await b.close()
