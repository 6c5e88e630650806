// Fails a build whose first page has more than 250 kB of JavaScript gzipped, or whose index.html would break the policy it is served under.
import { readdirSync, readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'

const limit = 250_000
const dist = new URL('../dist/', import.meta.url)
const sizes = { js: [0, 0], css: [0, 0], woff2: [0, 0] }
for (const name of readdirSync(new URL('assets/', dist))) {
  const kind = name.slice(name.lastIndexOf('.') + 1)
  const bytes = readFileSync(new URL(`assets/${name}`, dist))
  sizes[kind] ??= [0, 0]
  const sum = sizes[kind]
  sum[0] += bytes.length
  sum[1] += kind === 'woff2' ? bytes.length : gzipSync(bytes, { level: 9 }).length
  if (kind === 'js' && /\.(innerHTML|outerHTML)\s*=[^=]|insertAdjacentHTML|document\.write\(/.test(bytes.toString())) {
    console.error(`${name} makes elements from a string of HTML`)
    process.exitCode = 1
  }
}
for (const [kind, [raw, gz]] of Object.entries(sizes)) console.log(`${kind}: ${raw} B, ${gz} B gzipped`)
const html = readFileSync(new URL('index.html', dist), 'utf8')
if (/<script(?![^>]*\ssrc=)/.test(html) || /<style|\sstyle=|\son\w+=/.test(html)) {
  console.error('index.html has inline script or style')
  process.exitCode = 1
}

// The first page: what index.html names. What a screen needs beyond that is fetched when it is opened.
const first = [...html.matchAll(/(?:src|href)="\/(assets\/[^"]+\.js)"/g)]
  .map((m) => gzipSync(readFileSync(new URL(m[1], dist)), { level: 9 }).length)
  .reduce((a, b) => a + b, 0)
console.log(`first page: ${first} B of JavaScript gzipped`)
if (first === 0 || first > limit) {
  console.error(`the first page's JavaScript must be over 0 and at most ${limit} B gzipped`)
  process.exitCode = 1
}
