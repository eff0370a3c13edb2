// Runs @hellocoop/mockin, a person server for tests by authors of AAuth, on a free
// port of this machine. The first line it prints, {"url": ...}, is its identifier.
import { createServer } from 'node:http'
import { createRequire } from 'node:module'

const mockin = createRequire(createRequire(import.meta.url).resolve('@hellocoop/mockin/package.json'))
const { default: fastify } = mockin('fastify')

const server = createServer()
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const url = `http://127.0.0.1:${server.address().port}`

// It reads its identifier from the environment when it is loaded, and says so on
// standard output, which is this program's.
process.env.ISSUER = url
console.log = console.error
const { default: routes } = await import('@hellocoop/mockin/src/api.js')

const app = fastify({
  serverFactory: (handler) => server.on('request', handler), // which listens already
})
await routes(app).ready()
process.stdout.write(JSON.stringify({ url }) + '\n')
