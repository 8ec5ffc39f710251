// Plays CIBA flows by openid-client. Reads {issuer, cases} as JSON from standard
// input, plays all cases at once, and prints one line of JSON for each.
import { webcrypto } from 'node:crypto'
import { text } from 'node:stream/consumers'
import * as client from 'openid-client'

// Node.js 18, as Debian has it, keeps its Web Crypto API in a module.
globalThis.crypto ??= webcrypto
globalThis.CryptoKey ??= webcrypto.CryptoKey

const algorithms = {
  ES256: { name: 'ECDSA', namedCurve: 'P-256' },
  PS256: { name: 'RSA-PSS', hash: 'SHA-256' },
}

// authentication returns how the client proves who it is.
async function authentication(c) {
  switch (c.method) {
    case 'client_secret_basic':
      return client.ClientSecretBasic(c.secret)
    case 'client_secret_post':
      return client.ClientSecretPost(c.secret)
    case 'client_secret_jwt':
      return client.ClientSecretJwt(c.secret)
    case 'private_key_jwt': {
      const key = await crypto.subtle.importKey('jwk', c.key, algorithms[c.key.alg], false, ['sign'])
      return client.PrivateKeyJwt({ key, kid: c.key.kid })
    }
  }
  throw new Error(`unknown method ${c.method}`)
}

// play starts one request, polls until it is decided, and uses what it gets.
async function play(issuer, c) {
  const config = await client.discovery(new URL(issuer), c.client_id, undefined, await authentication(c))
  // Verifies the signatures of ID Tokens, which TLS alone would vouch for.
  client.enableNonRepudiationChecks(config)
  const options = { signal: AbortSignal.timeout(30_000) }
  if (c.dpop) {
    options.DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))
  }
  const parameters = { scope: 'openid email', login_hint: c.login_hint, binding_message: c.binding_message }
  if (c.requested_expiry) {
    parameters.requested_expiry = String(c.requested_expiry)
  }
  const started = await client.initiateBackchannelAuthentication(config, parameters)
  const tokens = await client.pollBackchannelAuthenticationGrant(config, started, undefined, options)
  const claims = tokens.claims()
  const userinfo = await client.fetchUserInfo(config, tokens.access_token, claims.sub, options)
  const result = { claims, userinfo, token_type: tokens.token_type, scope: tokens.scope }

  const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, options)
  const before = await client.tokenIntrospection(config, refreshed.access_token)
  await client.tokenRevocation(config, refreshed.refresh_token)
  const after = await client.tokenIntrospection(config, refreshed.access_token)
  return { ...result, refreshed: refreshed.claims().sub, active: [before.active, after.active] }
}

const { issuer, cases } = JSON.parse(await text(process.stdin))
await Promise.all(cases.map(async (c) => {
  let result
  try {
    result = await play(issuer, c)
  } catch (error) {
    result = { error: error.error ?? error.code ?? error.name, message: `${error.message}: ${error.cause?.message ?? ''}`, status: error.status }
  }
  console.log(JSON.stringify({ name: c.name, ...result }))
}))
