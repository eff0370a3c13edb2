// Compares what this client sends with published requests, byte for byte.
import { readFileSync } from 'node:fs'
import { namingJWT, sign } from './sign.mjs'

/** Prints a line for each vector in the file, and returns how many differ. */
export async function checkVectors(file) {
  const { created, keys, vectors, ...all } = JSON.parse(readFileSync(file, 'utf8'))
  const naming = await namingJWT(keys.durable, keys.ephemeral, { iat: created, jti: 'nm-0001' })
  const schemes = {
    hwk: { type: 'hwk' },
    jwt: { type: 'jwt', jwt: all.agent_token },
    'jkt-jwt': { type: 'jkt_jwt', jwt: naming },
    jwks_uri: { type: 'jwks_uri', id: 'https://ap.example', dwk: 'aauth-agent.json', kid: 'ap-key-1' },
  }
  let differing = print({ vector: 'naming_jwt', equal: naming === all.naming_jwt })
  for (const { name, method, url, body, key, headers: want } of vectors) {
    const scheme = schemes[want['signature-key'].match(/^sig=([^;]+)/)[1]]
    const headers = body === null ? {} : { 'content-type': 'application/json' }
    const signed = await sign({ url, method, headers, body: body ?? undefined, key: keys[key], scheme, created })
    const got = Object.fromEntries([...signed].sort())
    const equal = JSON.stringify(got) === JSON.stringify(Object.fromEntries(Object.entries(want).sort()))
    differing += print(equal ? { vector: name, equal } : { vector: name, equal, got, want })
  }
  return differing
}

function print(line) {
  console.log(JSON.stringify(line))
  return line.equal ? 0 : 1
}
