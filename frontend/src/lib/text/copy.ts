import { query, segment } from '../api/client'
import type { MapNode, MapPath } from '../api/types'
import { shellWord } from './visible'

/** What a sheet shows, as lines for a terminal. */
export interface CopyLine {
  as: string
  text: string
}

export interface Place {
  origin: string
  /** The address of the broker that holds the topics; '' where it is not known. */
  broker: string
}

const curl = (at: Place, path: string) => `curl -sH "Authorization: Bearer $FRESHET_TOKEN" ${shellWord(`${at.origin}/api${path}`)}`

const kcat = (at: Place, topic: string, flags: string) => `kcat -b ${shellWord(at.broker)} -C -t ${shellWord(topic)} ${flags}`

export function copyNode(n: MapNode, at: Place): CopyLine[] {
  const ref = shellWord(n.ref)
  const lines: CopyLine[] = []
  switch (n.lane) {
    case 'source':
      lines.push({ as: 'Freshet', text: `freshet sources status ${ref}` }, { as: 'curl', text: curl(at, `/sources/${segment(n.ref)}`) })
      break
    case 'topic':
      lines.push(
        { as: 'Freshet', text: `freshet topics read ${ref} --from newest --limit 20` },
        { as: 'curl', text: curl(at, `/topics/${segment(n.ref)}/records${query({ from: 'newest', limit: 20 })}`) },
      )
      if (at.broker) lines.push({ as: 'kcat', text: kcat(at, n.ref, "-o -20 -e -f '%p:%o %T %k %s\\n'") })
      break
    case 'group':
      lines.push({ as: 'Freshet', text: `freshet groups describe ${ref}` }, { as: 'curl', text: curl(at, `/groups/${segment(n.ref)}`) })
      break
    case 'sink':
      lines.push({ as: 'Freshet', text: `freshet sinks status ${ref}` }, { as: 'curl', text: curl(at, `/sinks/${segment(n.ref)}`) })
      break
  }
  return lines
}

const inCluster = (cluster: string) => (cluster === 'embedded' ? '' : ` --cluster ${shellWord(cluster)}`)
const kafkaGroups = (broker: string, what: string) => `kafka-consumer-groups.sh --bootstrap-server ${shellWord(broker)} ${what}`

export function copyGroups(cluster: string, at: Place): CopyLine[] {
  const lines: CopyLine[] = [
    { as: 'Freshet', text: `freshet groups list${inCluster(cluster)}` },
    { as: 'curl', text: curl(at, `/groups${query({ cluster })}`) },
  ]
  if (at.broker) lines.push({ as: 'kafka-consumer-groups', text: kafkaGroups(at.broker, '--describe --all-groups') })
  return lines
}

export function copyGroup(name: string, cluster: string, at: Place): CopyLine[] {
  const lines: CopyLine[] = [
    { as: 'Freshet', text: `freshet groups describe ${shellWord(name)}${inCluster(cluster)}` },
    { as: 'curl', text: curl(at, `/groups/${segment(name)}${query({ cluster })}`) },
  ]
  if (at.broker) lines.push({ as: 'kafka-consumer-groups', text: kafkaGroups(at.broker, `--describe --group ${shellWord(name)}`) })
  return lines
}

/** Moving a group's offsets, as the dialog is about to. */
export function copyReset(name: string, cluster: string, topic: string, to: string, at: Place): CopyLine[] {
  return [
    {
      as: 'Freshet',
      text: `freshet groups reset ${shellWord(name)} --topic ${shellWord(topic)} --to ${shellWord(to)}${inCluster(cluster)}`,
    },
    {
      as: 'curl',
      text: `${curl(at, `/groups/${segment(name)}/reset${query({ cluster })}`)} -H 'Content-Type: application/json' -H 'X-Freshet: 1' -d ${shellWord(JSON.stringify({ topic, to, apply: false }))}`,
    },
  ]
}

export function copyFreshness(at: Place): CopyLine[] {
  return [
    { as: 'Freshet', text: 'freshet freshness' },
    { as: 'curl', text: curl(at, '/freshness') },
  ]
}

/** Another cluster than the local broker is named. */
const flag = (cluster: string) => (cluster === 'embedded' ? '' : ` --cluster ${shellWord(cluster)}`)
const asked = (cluster: string) => (cluster === 'embedded' ? undefined : cluster)

export function copyTopics(cluster: string, at: Place): CopyLine[] {
  const lines: CopyLine[] = [
    { as: 'Freshet', text: `freshet topics list${flag(cluster)}` },
    { as: 'curl', text: curl(at, `/topics${query({ cluster: asked(cluster) })}`) },
  ]
  if (at.broker) lines.push({ as: 'kcat', text: `kcat -b ${shellWord(at.broker)} -L` })
  return lines
}

export function copyTopic(topic: string, cluster: string, at: Place): CopyLine[] {
  const lines: CopyLine[] = [
    { as: 'Freshet', text: `freshet topics describe ${shellWord(topic)}${flag(cluster)}` },
    { as: 'curl', text: curl(at, `/topics/${segment(topic)}${query({ cluster: asked(cluster) })}`) },
  ]
  if (at.broker) lines.push({ as: 'kcat', text: `kcat -b ${shellWord(at.broker)} -L -t ${shellWord(topic)}` })
  return lines
}

/** A line for each of several topics. */
export function describeAll(topics: readonly string[], cluster: string): string {
  return topics.map((t) => `freshet topics describe ${shellWord(t)}${flag(cluster)}`).join('\n')
}

/** The verbs of a source or a sink. */
export function copyNamed(noun: 'sources' | 'sinks', name: string, at: Place): CopyLine[] {
  return [
    { as: 'Freshet', text: name ? `freshet ${noun} status ${shellWord(name)}` : `freshet ${noun} list` },
    { as: 'curl', text: curl(at, `/${noun}${name ? `/${segment(name)}` : ''}`) },
  ]
}

export function copyPath(p: MapPath, at: Place): CopyLine[] {
  const lines: CopyLine[] = [
    { as: 'Freshet', text: `freshet freshness ${shellWord(p.path)}` },
    { as: 'curl', text: curl(at, `/freshness${query({ name: p.path })}`) },
  ]
  if (at.broker) lines.push({ as: 'kcat', text: kcat(at, p.topic, "-o -1 -e -f '%p:%o %T %h\\n'") })
  return lines
}
