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

  as: string
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
