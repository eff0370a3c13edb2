// What the steps of agent.mjs are made of: keys, signed requests, naming JWTs.
import { createPrivateKey, randomUUID, sign as signBytes, webcrypto } from 'node:crypto'
import { fetch as httpsig, calculateThumbprint, generateKeyPair } from '@hellocoop/httpsig'

globalThis.crypto ??= webcrypto // which the library uses, and Node 18 does not have there

/** Makes a private JWK. Its alg is what the library and the server go by. */
export async function newKey(algorithm) {
  const { privateKey } = await generateKeyPair({ algorithm })
  return { ...(await crypto.subtle.exportKey('jwk', privateKey)), alg: algorithm }
}

/** The public half of a private JWK. */
export const publicKey = ({ kty, crv, alg, x, y }) => ({ kty, crv, alg, x, y })

/**
 * Signs a request and returns its headers. Without components the library covers
 * "@method" "@authority" "@path" "signature-key", and "content-type" and
 * "content-digest" where there is a body.
 *
 * created is for tests: the library itself always takes the present time.
 */
export async function sign({ url, method = 'GET', headers = {}, body, key, scheme, components, contentDigest, created }) {
  const clock = Date.now
  if (created !== undefined) Date.now = () => created * 1000
  try {
    const options = { method, headers, body, signingKey: key, signatureKey: scheme, components, contentDigest }
    return (await httpsig(url, { ...options, dryRun: true })).headers
  } finally {
    Date.now = clock
  }
}

/**
 * A naming JWT: with it the durable key vouches for an ephemeral one. It brings
 * the durable public key along, and is issued by that key's thumbprint.
 */
export async function namingJWT(durable, ephemeral, { iat = Math.floor(Date.now() / 1000), jti = randomUUID() } = {}) {
  const header = { alg: durable.alg, typ: 'jkt-s256+jwt', jwk: publicKey(durable) }
  const iss = 'urn:jkt:sha-256:' + (await calculateThumbprint(durable))
  const claims = { iss, iat, exp: iat + 300, jti, cnf: { jwk: publicKey(ephemeral) } }
  const text = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  const key = createPrivateKey({ key: durable, format: 'jwk' })
  const signature = signBytes(durable.alg === 'ES256' ? 'sha256' : null, Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' })
  return text + '.' + signature.toString('base64url')
}
