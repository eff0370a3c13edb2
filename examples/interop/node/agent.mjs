// An AAuth agent on npm's @hellocoop/httpsig: it enrols at an agent provider,
// refreshes its token in both ways, calls a resource with it, and makes mistakes
// that a server has to notice. For each step it prints a line of JSON.
//
//   npm ci
//   node agent.mjs http://127.0.0.1:8080                 every step
//   node agent.mjs http://127.0.0.1:8080 enrol whoami    these, in this order
//   node agent.mjs --vectors requests.json               against published requests
//
// --state DIR    keep the key and the token there, for the steps of another run
// --alg ES256    the algorithm of the keys, Ed25519 unless given
// --agent-id ID  the name to enrol under; "" lets the provider choose
// --ps URL       the person server of the agent
// --secret S     an enrolment secret, sent as Authorization: Bearer
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import * as httpsig from '@hellocoop/httpsig'
import { namingJWT, newKey, publicKey, sign } from './sign.mjs'
import { checkVectors } from './vectors.mjs'

const string = { type: 'string' }
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { state: string, alg: { ...string, default: 'Ed25519' }, 'agent-id': string, ps: string, secret: string, vectors: string },
})
const base = positionals[0]?.replace(/\/$/, '')
const hwk = { type: 'hwk' }
const agent = {} // durable, token; ephemeral, naming, ephemeralToken; id; endpoints

// The steps, each named as it is on the command line, in the order of a whole run.
const steps = {
  'metadata': () => send({ url: base + '/.well-known/aauth-agent.json' }),
  'unsigned': () => send({ url: base + '/whoami' }),

  'enrol': () => keepToken(enrol(agent.durable)),
  'enrol-again': () => keepToken(enrol(agent.durable)),
  'enrol-other-key': async () => enrol(await newKey(flags.alg)),

  'refresh': () => keepToken(post(agent.endpoints.refresh, agent.durable, hwk)),
  'whoami': () => whoami(agent.durable, agent.token),

  'refresh-two-keys': async () => {
    agent.ephemeral = await newKey(flags.alg)
    agent.naming = await namingJWT(agent.durable, agent.ephemeral)
    const answer = await refreshTwoKeys()
    agent.ephemeralToken = answer.body?.agent_token
    return answer
  },
  'whoami-two-keys': () => whoami(agent.ephemeral, agent.ephemeralToken),

  // A new signature does not make a naming JWT new.
  'replayed-naming-jwt': () => refreshTwoKeys(),
  'missing-digest': () => post(agent.endpoints.enrol, agent.durable, hwk, {
    body: enrolment(agent.durable), components: httpsig.DEFAULT_COMPONENTS_GET, contentDigest: 'omit',
  }),
  'altered-body': () => post(agent.endpoints.enrol, agent.durable, hwk, {
    body: enrolment(agent.durable), sent: enrolment(agent.durable, 'https://elsewhere.example'),
  }),
  'stale-created': () => post(agent.endpoints.refresh, agent.durable, hwk, { created: Math.floor(Date.now() / 1000) - 120 }),
  'whoami-other-key': async () => whoami(await newKey(flags.alg), agent.token),
}
const more = {
  'whoami-hwk': () => send({ url: base + '/whoami', key: agent.durable, scheme: hwk }),
  'uncovered-secret': () => post(agent.endpoints.enrol, agent.durable, hwk, {
    body: enrolment(agent.durable), headers: { authorization: `Bearer ${flags.secret}` },
  }),
}

function enrolment(key, ps = flags.ps) {
  return JSON.stringify({ agent_id: agent.id || undefined, jwk: publicKey(key), ps })
}

function enrol(key) {
  const request = { body: enrolment(key) }
  if (flags.secret) {
    request.headers = { authorization: `Bearer ${flags.secret}` }
    request.components = [...httpsig.DEFAULT_COMPONENTS_BODY, 'authorization']
  }
  return post(agent.endpoints.enrol, key, hwk, request)
}

const refreshTwoKeys = () => post(agent.endpoints.refresh, agent.ephemeral, { type: 'jkt_jwt', jwt: agent.naming })

const whoami = (key, jwt) => send({ url: base + '/whoami', key, scheme: { type: 'jwt', jwt } })

const post = (url, key, scheme, { headers, ...request } = {}) =>
  send({ url, method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: '{}', key, scheme, ...request })

const subject = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url')).sub

async function keepToken(answering) {
  const answer = await answering
  if (answer.status === 200) {
    agent.token = answer.body.agent_token
    agent.id = subject(agent.token)
    if (flags.state) writeFileSync(join(flags.state, 'agent.token'), agent.token, { mode: 0o600 })
  }
  return answer
}

/** Sends a request, signed if it has a key, and returns what there is to say of the answer. */
async function send({ sent, ...request }) {
  const headers = request.key ? await signOnce(request) : request.headers
  const response = await fetch(request.url, { method: request.method, headers, body: sent ?? request.body, redirect: 'manual' })
  const text = await response.text()
  const read = (name, parse = (value) => value) => (response.headers.has(name) ? parse(response.headers.get(name)) : undefined)
  return {
    status: response.status,
    contentType: read('content-type'),
    cacheControl: read('cache-control'),
    body: /json/.test(read('content-type')) ? JSON.parse(text) : text,
    // Read by the library, which throws on what it cannot read.
    signatureError: read('signature-error', httpsig.parseSignatureError),
    acceptSignature: read('accept-signature', httpsig.parseAcceptSignature),
    acceptScheme: read('accept-signature-scheme', httpsig.parseAcceptSignatureScheme),
    acceptAlg: read('accept-signature-alg', httpsig.parseAcceptSignatureAlg),
    requirement: read('aauth-requirement'),
    signatureInput: headers?.get?.('signature-input'),
  }
}

// Equal requests within a second have the same signature, and the second of them
// would be refused as a replay.
const signed = new Set()
async function signOnce(request) {
  for (;;) {
    const headers = await sign(request)
    const mark = [request.method, request.url, request.key.x, headers.get('signature-input')].join(' ')
    if (!signed.has(mark)) {
      signed.add(mark)
      return headers
    }
    await sleep(50)
  }
}

async function prepare() {
  const keyFile = flags.state && join(flags.state, 'durable.jwk')
  const tokenFile = flags.state && join(flags.state, 'agent.token')
  if (flags.state) mkdirSync(flags.state, { recursive: true, mode: 0o700 })
  agent.durable = keyFile && existsSync(keyFile) ? JSON.parse(readFileSync(keyFile, 'utf8')) : await newKey(flags.alg)
  if (keyFile) writeFileSync(keyFile, JSON.stringify(agent.durable), { mode: 0o600 }) // before anybody knows the key
  if (tokenFile && existsSync(tokenFile)) agent.token = readFileSync(tokenFile, 'utf8')

  const { status, body: metadata } = await steps.metadata()
  const issuer = (status === 200 && metadata.issuer) || base
  agent.endpoints = { enrol: metadata.enrol_endpoint ?? issuer + '/enrol', refresh: metadata.refresh_endpoint ?? issuer + '/refresh' }
  const name = 'node-' + (await httpsig.calculateThumbprint(agent.durable))
  agent.id = agent.token ? subject(agent.token) : (flags['agent-id'] ?? `aauth:${name}@${new URL(issuer).hostname}`)
}

if (flags.vectors) {
  process.exit((await checkVectors(flags.vectors)) === 0 ? 0 : 1)
}
const names = positionals.length > 1 ? positionals.slice(1) : Object.keys(steps)
const unknown = names.filter((name) => !steps[name] && !more[name])
if (!base || unknown.length > 0) {
  console.error(`usage: node agent.mjs [flags] URL [step...]\nsteps: ${Object.keys({ ...steps, ...more }).join(' ')}\nunknown: ${unknown.join(' ')}`)
  process.exit(2)
}
await prepare()
for (const name of names) {
  console.log(JSON.stringify({ step: name, ...(await (steps[name] ?? more[name])()) }))
}
