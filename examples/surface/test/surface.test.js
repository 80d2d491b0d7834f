// What needs no server: sealed sessions, ID tokens, escaping, paths.

import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join as joinPath } from 'node:path'
import { test } from 'node:test'
import { localPath, makeServer } from '../src/app.js'
import { ConfigError, fromEnvironment, readFlags, readSdk } from '../src/config.js'
import { LoginError, challengeOf, verifyIdToken } from '../src/oidc.js'
import * as pages from '../src/pages.js'
import { join, keyOf, parseCookies, seal, split, unseal } from '../src/session.js'

const NOW = 1_800_000_000
const pair = generateKeyPairSync('rsa', { modulusLength: 2048 })
const other = generateKeyPairSync('rsa', { modulusLength: 2048 })
const GOOD = { iss: 'https://login.example/realms/r', aud: 'shop', sub: '1', exp: NOW + 60, iat: NOW, nonce: 'n' }
const EXPECTED = { keys: new Map([['k', pair.publicKey]]), issuer: GOOD.iss, clientId: 'shop', nonce: 'n', now: NOW }

function token(claims, { header = { alg: 'RS256', kid: 'k' }, key = pair.privateKey } = {}) {
  const signed = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  return `${signed}.${sign('sha256', Buffer.from(signed), key).toString('base64url')}`
}

test('a good ID token gives its claims', () => {
  assert.deepEqual(verifyIdToken(token(GOOD), EXPECTED), GOOD)
  assert.equal(verifyIdToken(token({ ...GOOD, aud: ['shop', 'api'], azp: 'shop' }), EXPECTED).sub, '1')
})

for (const [what, bad] of Object.entries({
  'another issuer': token({ ...GOOD, iss: 'https://evil.example' }),
  'another client': token({ ...GOOD, aud: 'other' }),
  'several audiences, none authorized': token({ ...GOOD, aud: ['shop', 'other'] }),
  'another authorized party': token({ ...GOOD, azp: 'other' }),
  expired: token({ ...GOOD, exp: NOW - 60 }),
  'without expiry': token({ ...GOOD, exp: undefined }),
  'of the future': token({ ...GOOD, iat: NOW + 600 }),
  'another login': token({ ...GOOD, nonce: 'other' }),
  'another key': token(GOOD, { key: other.privateKey }),
  'unknown key id': token(GOOD, { header: { alg: 'RS256', kid: 'x' } }),
  'no algorithm': token(GOOD, { header: { alg: 'none', kid: 'k' } }),
  'a symmetric algorithm': token(GOOD, { header: { alg: 'HS256', kid: 'k' } }),
  'an algorithm of another key type': token(GOOD, { header: { alg: 'ES256', kid: 'k' } }),
  'no signature': token(GOOD).replace(/[^.]+$/, ''),
  'no token': 'abc',
})) {
  test(`an ID token is refused: ${what}`, () => {
    assert.throws(() => verifyIdToken(bad, EXPECTED), LoginError)
  })
}

test("PKCE's challenge is that of RFC 7636, appendix B", () => {
  assert.equal(challengeOf('dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk'), 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM')
})

test('a sealed value opens with its key, until it expires, untouched', () => {
  const key = keyOf('secret', 'session')
  const text = seal(key, { user: 'ada' }, NOW + 10)
  assert.deepEqual(unseal(key, text, NOW), { user: 'ada' })
  assert.equal(unseal(key, text, NOW + 10), null)
  assert.equal(unseal(keyOf('rotated', 'session'), text, NOW), null)
  assert.equal(unseal(keyOf('secret', 'login'), text, NOW), null)
  const bytes = Buffer.from(text, 'base64url')
  for (let at = 0; at < bytes.length; at += 1) {
    const forged = Buffer.from(bytes)
    forged[at] ^= 1
    assert.equal(unseal(key, forged.toString('base64url'), NOW), null, `byte ${at}`)
  }
  assert.equal(unseal(key, '', NOW), null)
})

test('cookies of any length come back, and shorter ones leave nothing of longer ones', () => {
  for (const length of [0, 1, 3600, 3601, 9000]) {
    const headers = split('s', 'x'.repeat(length), { path: '/', secure: true })
    for (const header of headers) {
      assert.ok(Buffer.byteLength(header) < 4096)
      assert.match(header, /; HttpOnly; SameSite=Lax; Secure/)
    }
    const kept = headers.filter((header) => !header.includes('Max-Age=0')).map((header) => header.split(';')[0])
    assert.equal(join('s', parseCookies(kept.join('; '))).length, length)
    assert.equal(headers.length, 6)
  }
  assert.throws(() => split('s', 'x'.repeat(30_000), { path: '/' }), RangeError)
})

test('after the login nobody is led away', () => {
  assert.equal(localPath('/shop/?a=1', '/shop'), '/shop/?a=1')
  for (const bad of ['//evil.example', '/\\evil.example', 'https://evil.example', '/\t/evil.example', '', null]) {
    assert.equal(localPath(bad, '/shop'), '/shop/', JSON.stringify(bad))
  }
})

test('pages escape whatever comes from outside', () => {
  const evil = '"><script>alert(1)</script>'
  const session = { user: { name: evil }, scopes: [evil] }
  const config = { name: evil, version: evil, basePath: '', tenantHeader: evil, oidc: { required: [evil] } }
  const sdk = { tenantId: evil, domains: { [evil]: { http: evil, grpc: evil } }, processes: {}, agents: {} }
  const flags = { flags: { [evil]: true }, variants: { x: evil } }
  for (const page of [
    pages.home({ config, session, flags, sdk }),
    pages.forbidden({ config, session, missing: [evil] }),
    pages.problem({ config, title: evil, message: evil, again: evil }),
  ]) {
    assert.ok(!page.includes('<script>alert'), page)
    assert.ok(page.includes('&quot;&gt;&lt;script&gt;'))
  }
})

test('flags and variants are one table, by name', () => {
  const rows = pages.flagRows({ flags: { b: true, a: false }, variants: { c: 'blue' } })
  assert.deepEqual(rows, [['a', 'off'], ['b', 'on'], ['c', 'blue']])
})

test('an environment that is wrong is refused by the name of the variable', () => {
  assert.throws(() => fromEnvironment({ AMEIDE_AUTH_MODE: 'Application' }), /OIDC_ISSUER/)
  assert.throws(() => fromEnvironment({ AMEIDE_BASE_PATH: 'x y' }), /AMEIDE_BASE_PATH/)
  assert.throws(() => fromEnvironment({ PORT: 'http' }), /PORT/)
  assert.equal(fromEnvironment({ HOSTNAME: 'pod-1' }).address, '0.0.0.0')
  assert.equal(fromEnvironment({ AMEIDE_BASE_PATH: '/' }).basePath, '')
})

test('files that are wrong are refused by their path', async (t) => {
  const folder = await mkdtemp(joinPath(tmpdir(), 'surface-'))
  t.after(() => rm(folder, { recursive: true }))
  const file = joinPath(folder, 'f.json')
  await assert.rejects(readFlags(file), (error) => error instanceof ConfigError && error.message.includes(file))
  for (const [text, read] of [['{', readFlags], ['[]', readFlags], ['{"version": 2}', readSdk]]) {
    await writeFile(file, text)
    await assert.rejects(read(file), ConfigError, text)
  }
})

test('a public surface under a path serves its pages, probes and metrics', async (t) => {
  const folder = await mkdtemp(joinPath(tmpdir(), 'surface-'))
  const [flags, sdk] = ['flags.json', 'config.json'].map((name) => joinPath(folder, name))
  await writeFile(flags, '{"flags": {"fast": true}, "variants": {}}')
  const lines = []
  const config = fromEnvironment({ AMEIDE_BASE_PATH: '/shop', AMEIDE_FLAGS_FILE: flags, AMEIDE_SDK_CONFIG_FILE: sdk })
  const state = { stopping: false }
  const server = makeServer(config, (level, message) => lines.push(message), state)
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(async () => {
    server.closeAllConnections()
    server.close()
    await rm(folder, { recursive: true })
  })
  const base = `http://127.0.0.1:${server.address().port}`
  assert.equal((await fetch(`${base}/healthz`)).status, 200)
  assert.equal((await fetch(`${base}/readyz`)).status, 503) // no SDK configuration yet
  await writeFile(sdk, '{"version": 1, "tenantId": "t1", "domains": {}}')
  assert.equal((await fetch(`${base}/readyz`)).status, 200)
  const page = await fetch(`${base}/shop`)
  assert.equal(page.status, 200)
  assert.match(page.headers.get('content-security-policy'), /default-src 'none'/)
  assert.match(await page.text(), /fast/)
  assert.deepEqual(await (await fetch(`${base}/shop/api/flags`)).json(), { rows: [['fast', 'on']] })
  await writeFile(flags, '{"flags": {"fast": false}}')
  assert.deepEqual(await (await fetch(`${base}/shop/api/flags`)).json(), { rows: [['fast', 'off']] })
  assert.equal((await fetch(`${base}/shop/assets/style.css`)).headers.get('content-type'), 'text/css; charset=utf-8')
  const statuses = { '/': 404, '/shopping': 404, '/shop/assets/..%2f..%2fpackage.json': 404, '/shop/%zz': 404 }
  for (const [path, status] of Object.entries(statuses)) assert.equal((await fetch(base + path)).status, status, path)
  assert.equal((await fetch(`${base}/shop/api/call/domains/constructor/x`)).status, 404)
  assert.equal((await fetch(`${base}/shop/`, { method: 'DELETE' })).status, 405)
  const alien = { method: 'POST', headers: { origin: 'https://evil.example' } }
  assert.equal((await fetch(`${base}/shop/api/call/domains/x/`, alien)).status, 403)
  assert.match(await (await fetch(`${base}/metrics`)).text(), /http_requests_total\{method="GET",status="200"\} \d/)
  state.stopping = true
  assert.equal((await fetch(`${base}/readyz`)).status, 503)
})
