// A server that verifies each request by @hellocoop/httpsig and answers what it saw.
// It is reached through a proxy, which says in X-Scheme by which scheme.
import { createServer } from 'node:http'
import { webcrypto } from 'node:crypto'
import { verify } from '@hellocoop/httpsig'

globalThis.crypto ??= webcrypto // which the library uses, and Node 18 does not have there

async function look(request) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const body = Buffer.concat(chunks)
  const [path, ...rest] = request.url.split('?') // as it was sent
  const { host } = new URL(`${request.headers['x-scheme']}://${request.headers.host}`) // without a default port
  const seen = { method: request.method, authority: host, path, query: rest.join('?'), headers: request.headers }
  if (body.length > 0 || request.headers['content-digest']) seen.body = body // whose digest is compared then
  const { verified, keyType, error, signatureError } = await verify(seen, { requireContentDigest: true })
  const { signature, 'signature-input': input } = request.headers
  return { verified, scheme: keyType, error, code: signatureError?.error, input, signature, ...seen, headers: undefined, body: body.toString() }
}

const server = createServer(async (request, response) => {
  const seen = await look(request)
  response.writeHead(seen.verified ? 200 : 401, { 'content-type': 'application/json' })
  response.end(JSON.stringify(seen))
})
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` }) + '\n')
})
