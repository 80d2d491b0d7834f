// Sessions in cookies: sealed with AES-256-GCM, so that any pod can serve any request and none keeps anything.

import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'

// Browsers keep up to 4096 bytes of a cookie with its name and attributes.
const CHUNK = 3600
const MOST_CHUNKS = 6

/**
 * A key of the client's secret, which all pods of a surface share: a rotated secret ends all sessions.
 * `purpose` keeps cookies of one use from being taken for another.
 */
export function keyOf(secret, purpose) {
  return Buffer.from(hkdfSync('sha256', secret, 'ameide-surface', purpose, 32))
}

/** Seal a value that holds until `expires` (seconds of the epoch). */
export function seal(key, value, expires) {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  const sealed = Buffer.concat([cipher.update(JSON.stringify({ value, expires })), cipher.final()])
  return Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString('base64url')
}

/** The value, or null if it is too old, was tampered with, or sealed with another key. `now` in seconds. */
export function unseal(key, text, now) {
  const bytes = Buffer.from(text, 'base64url')
  if (bytes.length < 29) return null
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12))
    decipher.setAuthTag(bytes.subarray(12, 28))
    const plain = Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()])
    const { value, expires } = JSON.parse(plain.toString())
    return expires > now ? value : null
  } catch {
    return null
  }
}

/** Cookies of a request, by name; of two with one name the first, which has the longer path. */
export function parseCookies(header = '') {
  const found = new Map()
  for (const part of header.split(';')) {
    const at = part.indexOf('=')
    if (at < 1) continue
    const name = part.slice(0, at).trim()
    if (!found.has(name)) found.set(name, part.slice(at + 1).trim())
  }
  return found
}

/** One Set-Cookie header. `seconds` 0 removes the cookie; undefined keeps it for as long as the browser runs. */
export function cookie(name, value, { path, secure, seconds }) {
  const age = seconds === undefined ? '' : `; Max-Age=${seconds}`
  return `${name}=${value}; Path=${path || '/'}; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}${age}`
}

/** Set-Cookie headers for a text of any length, in parts; parts that an earlier, longer text left are removed. */
export function split(name, text, options) {
  const parts = text.match(new RegExp(`.{1,${CHUNK}}`, 'g')) || []
  if (parts.length > MOST_CHUNKS) throw new RangeError('the session is too large for cookies: tokens have too many claims')
  return Array.from({ length: MOST_CHUNKS }, (_, index) =>
    index < parts.length
      ? cookie(`${name}.${index}`, parts[index], options)
      : cookie(`${name}.${index}`, '', { ...options, seconds: 0 }),
  )
}

/** The text that `split` took apart; empty if there is none. */
export function join(name, cookies) {
  let text = ''
  for (let index = 0; cookies.has(`${name}.${index}`); index += 1) text += cookies.get(`${name}.${index}`)
  return text
}
