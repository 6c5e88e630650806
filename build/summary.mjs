// summary.mjs go|proof|vitest EVENTS COUNTS [FAILURES]   reads a test run's JSON, prints what a person needs of it (for Go: each
// package, the output of what failed, why something was skipped; for a proof also what tests that passed had to say), and
// writes "passed failed skipped" to COUNTS and adds the names of what failed to FAILURES.
import { appendFileSync, createReadStream, readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

const [kind, events, counts, failures] = process.argv.slice(2)
const failed = [] // a line or a few for each

async function goTests() {
  const tests = new Map() // "package test" -> { result, output, parent of others }
  const packages = []
  const packageOutput = new Map()
  for await (const line of createInterface({ input: createReadStream(events) })) {
    let e
    try {
      e = JSON.parse(line)
    } catch {
      console.log(line)
      continue
    }
    const where = e.Package ?? e.ImportPath ?? ''
    if (!e.Test) {
      if (e.Action === 'output' || e.Action === 'build-output') {
        packageOutput.set(where, (packageOutput.get(where) ?? '') + e.Output)
      } else if (e.Action === 'build-fail') {
        console.log(`${packageOutput.get(where) ?? ''}FAIL ${where} does not compile`)
      } else if (['pass', 'fail', 'skip'].includes(e.Action)) {
        packages.push({ name: where, action: e.Action, seconds: e.Elapsed ?? 0 })
      }
      continue
    }
    const key = `${where} ${e.Test}`
    const t = tests.get(key) ?? { where, name: e.Test, output: '', result: '' }
    tests.set(key, t)
    if (e.Action === 'output') t.output += e.Output
    if (['pass', 'fail', 'skip'].includes(e.Action)) t.result = e.Action
  }
  const parents = new Set()
  for (const t of tests.values()) {
    for (let i = t.name.lastIndexOf('/'); i > 0; i = t.name.lastIndexOf('/', i - 1)) parents.add(`${t.where} ${t.name.slice(0, i)}`)
  }
  const sum = { pass: 0, fail: 0, skip: 0 }
  const failedPackages = new Set()
  for (const [key, t] of tests) {
    const result = t.result || 'fail' // it began and did not end: the program did
    if (result === 'fail') failedPackages.add(t.where)
    // A test with parts counts by its parts, unless it failed where none of them did.
    const partsFailed = [...tests].some(([k, p]) => k.startsWith(`${key}/`) && (p.result || 'fail') === 'fail')
    if (parents.has(key) && !(result === 'fail' && !partsFailed)) continue
    sum[result]++
    if (result === 'pass' && kind === 'proof') {
      const said = t.output.split('\n').filter((l) => l.trim() && !/^\s*(===|---)|\blevel=/.test(l))
      if (said.length > 0) console.log([`--- PASS ${t.where} ${t.name}`, ...said].join('\n'))
    }
    if (result === 'fail') failed.push(key)
    if (result === 'fail') console.log(`--- FAIL ${t.where} ${t.name}${t.result ? '' : ' (did not end)'}\n${t.output}`)
    if (result === 'skip') console.log(`--- SKIP ${t.where} ${t.name}: ${t.output.split('\n').filter((l) => !/^(===|---)/.test(l.trim())).join(' ').trim()}`)
  }
  for (const p of packages) {
    if (p.action === 'fail' && !failedPackages.has(p.name)) {
      failed.push(p.name)
      sum.fail++ // a panic, a leak, a race outside of a test, or no compiling
      console.log(`--- FAIL ${p.name}\n${packageOutput.get(p.name) ?? ''}`)
    }
    if (p.action !== 'skip') console.log(`${p.action === 'pass' ? 'ok  ' : 'FAIL'} ${p.name} ${p.seconds.toFixed(1)} s`)
  }
  return [sum.pass, sum.fail, sum.skip]
}

function vitest() {
  const r = JSON.parse(readFileSync(events, 'utf8'))
  // A file that could not be run has failed without a test of its own.
  const broken = r.testResults.filter((f) => f.status === 'failed' && f.assertionResults.length === 0).length
  for (const f of r.testResults) {
    for (const t of f.assertionResults.filter((t) => t.status === 'failed')) {
      failed.push(`${t.fullName}\n${(t.failureMessages[0] ?? '').split('\n').slice(0, 8).map((l) => `    ${l}`).join('\n')}`)
    }
    if (f.status === 'failed' && f.assertionResults.length === 0) failed.push(`${f.name}: ${f.message}`)
  }
  return [r.numPassedTests, r.numFailedTests + broken, r.numPendingTests + r.numTodoTests]
}

writeFileSync(counts, `${(kind === 'vitest' ? vitest() : await goTests()).join(' ')}\n`)
if (failures) appendFileSync(failures, failed.map((f) => `${f}\n`).join(''))
