import { query, segment } from '../api/client'
import type { Place as At, CopyLine } from '../text/copy'
import { shellWord } from '../text/visible'
import { type Ask, selection, selects } from './ask'
import type { Row } from './records'

const curl = (at: At, path: string) => `curl -sH "Authorization: Bearer $FRESHET_TOKEN" ${shellWord(`${at.origin}/api${path}`)}`

const clusterFlag = (cluster: string) => (cluster && cluster !== 'embedded' ? ` --cluster ${shellWord(cluster)}` : '')

/** What the screen asks, as lines for a terminal. */
export function copyAsk(a: Ask, at: At): CopyLine[] {
  const from =
    a.where === 'offset' && a.place
      ? `${a.place.partition}:${a.place.offset}`
      : a.where === 'time'
        ? a.time
        : a.where === 'newest'
          ? 'newest'
          : a.since || 'oldest'
  const topic = shellWord(a.topic)
  const flags = `${a.filter ? ` --filter ${shellWord(a.filter)}` : ''}${a.key ? ` --key ${shellWord(a.key)}` : ''}${clusterFlag(a.cluster)}`
  const lines: CopyLine[] = [
    {
      as: 'Freshet',
      text:
        a.where === 'live'
          ? `freshet topics tail ${topic}${flags}`
          : `freshet topics read ${topic} --from ${shellWord(from)} --limit 200${flags}`,
    },
    {
      as: 'curl',
      text: curl(
        at,
        `/topics/${segment(a.topic)}/records${query({ ...selection(a), order: a.where === 'newest' ? 'newest' : 'oldest', limit: 200 })}`,
      ),
    },
  ]
  if (at.broker && !selects(a)) {
    const place =
      a.where === 'offset' && a.place
        ? `-p ${a.place.partition} -o ${a.place.offset} -c 200`
        : a.where === 'oldest'
          ? '-o beginning -c 200'
          : a.where === 'live'
            ? '-o end'
            : a.where === 'newest'
              ? '-o -200 -e'
              : ''
    if (place) lines.push({ as: 'kcat', text: `kcat -b ${shellWord(at.broker)} -C -t ${topic} ${place} -f '%p:%o %T %k %s\\n'` })
  }
  return lines
}

/** One record, as lines for a terminal and as what a Go test needs. */
export function copyRecord(r: Row, cluster: string, at: At): CopyLine[] {
  const { topic, partition, offset } = r.record
  const next = `${BigInt(offset) + 1n}`
  const lines: CopyLine[] = [
    {
      as: 'Freshet',
      text: `freshet topics read ${shellWord(topic)} --from ${partition}:${offset} --limit 1 -o json${clusterFlag(cluster)}`,
    },
    {
      as: 'curl',
      text: curl(
        at,
        `/topics/${segment(topic)}/records${query({ cluster, at: `${partition}:${offset}`, before: `${partition}:${next}`, order: 'oldest', limit: 1 })}`,
      ),
    },
  ]
  if (at.broker)
    lines.push({
      as: 'kcat',
      text: `kcat -b ${shellWord(at.broker)} -C -t ${shellWord(topic)} -p ${partition} -o ${offset} -c 1 -f '%p:%o %T %k %h\\n%s\\n'`,
    })
  if (r.source !== undefined) lines.push({ as: 'JSON', text: r.source })
  lines.push({ as: 'Go fixture', text: fixture(r) })
  return lines
}

/** The record as a Go test produces it. */
function fixture(r: Row): string {
  const { topic, partition, key, value, headers } = r.record
  const bytes = (p: typeof key) =>
    !p ? 'nil' : p.text !== undefined ? `[]byte(${goString(p.text)})` : `must(base64.StdEncoding.DecodeString(${goString(p.base64 ?? '')}))`
  const list = (headers ?? []).map((h) => `\t\t{Key: ${goString(h.name)}, Value: ${bytes(h.value)}},\n`).join('')
  return `&kgo.Record{\n\tTopic: ${goString(topic)}, Partition: ${partition},\n\tKey:   ${bytes(key)},\n\tValue: ${bytes(value)},\n${list && `\tHeaders: []kgo.RecordHeader{\n${list}\t},\n`}}`
}

/** A text as a Go string: raw where it can be, so that JSON stays readable. */
function goString(s: string): string {
  if (!/[`\p{Cc}\p{Cf}\p{Cs}]/u.test(s)) return `\`${s}\``
  const quoted = JSON.stringify(s).replace(/[\p{Cf}\u007f-\u009f\u2028\u2029]/gu, (c) => {
    const n = c.codePointAt(0) ?? 0
    return n > 0xffff ? `\\U${n.toString(16).padStart(8, '0')}` : `\\u${n.toString(16).padStart(4, '0')}`
  })
  return quoted
}
