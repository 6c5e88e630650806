/** What Freshet does not do, by the code that keeps it: each is a refusal or a lack, no intention. */
export const never: readonly { what: string; how: string }[] = [
  { what: 'Joins your groups', how: 'it reads partitions by offset; a group’s offsets move only where you reset them yourself' },
  { what: 'Writes to a cluster that you did not unlock', how: 'every request passes one gate, which refuses what is not reading' },
  { what: 'Makes a topic by looking at its name', how: 'requests that could are refused, also where brokers would allow it' },
  { what: 'Makes a slot or a publication unasked', how: 'creating a source shows first what it would make, and how to remove it' },
  {
    what: 'Sends out readings, records or usage',
    how: 'it speaks to what you connect; the demo alone fetches a PostgreSQL, where none is installed',
  },
  { what: 'Keeps a password in the clear', how: "it is in the system's keyring or an encrypted file, never in a log or an answer" },
  { what: 'Replays without a plan you approved', how: 'what would be written is counted before, and each run is in the audit history' },
  { what: 'Shows a guess as if it were read', how: 'what is not known says unknown and why; an estimate has its bounds' },
]
