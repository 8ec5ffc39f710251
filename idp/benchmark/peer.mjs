// node oidc-provider as the peer of the benchmark: CIBA by polling, one client with
// client_secret_basic, ES256, everything in memory, and an endpoint by which the
// driver approves. It prints its address and stops with its standard input.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const CLIENT_ID = 'bench';
const CLIENT_SECRET = process.env.BENCH_SECRET;
const USERS = Number(process.env.BENCH_USERS);
const JWT = process.env.BENCH_PEER_JWT === '1';

// The adapter is a Map without bounds or expiry: cheaper than the one that comes
// with the package, and without its limit of a thousand entries.
const maps = new Map();
class Memory {
  constructor(name) {
    if (!maps.has(name)) maps.set(name, new Map());
    this.map = maps.get(name);
  }
  async upsert(id, payload) { this.map.set(id, payload); }
  async find(id) { return this.map.get(id); }
  async destroy(id) { this.map.delete(id); }
  async consume(id) { this.map.get(id).consumed = Math.floor(Date.now() / 1000); }
  async findByUid() { return undefined; }
  async findByUserCode() { return undefined; }
  async revokeByGrantId() {}
}

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const jwk = { ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig', kid: 'bench' };

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    adapter: Memory,
    jwks: { keys: [jwk] },
    clients: [{
      client_id: CLIENT_ID,
      client_secret: CLIENT_SECRET,
      grant_types: ['urn:openid:params:grant-type:ciba'],
      response_types: [],
      redirect_uris: [],
      id_token_signed_response_alg: 'ES256',
      backchannel_token_delivery_mode: 'poll',
    }],
    scopes: ['openid'],
    features: {
      ciba: {
        enabled: true,
        deliveryModes: ['poll'],
        processLoginHint: async (ctx, hint) => hint,
        processLoginHintToken: async () => undefined,
        verifyUserCode: async () => {},
        validateBindingMessage: async () => {},
        validateRequestContext: async () => {},
        triggerAuthenticationDevice: async () => {},
      },
      devInteractions: { enabled: false },
      // With this, its access tokens are JWTs, as ours always are. Without, they
      // are random text, which costs it one signature less.
      resourceIndicators: {
        enabled: JWT,
        defaultResource: () => 'https://api.example.com',
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: 'openid', audience: 'https://api.example.com',
          accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
    findAccount: async (ctx, id) => (Number(id.slice(4)) < USERS
      ? { accountId: id, claims: async () => ({ sub: id }) } : undefined),
  });
  const callback = provider.callback();
  server.on('request', async (req, res) => {
    if (!req.url.startsWith('/test/ciba-action?')) {
      callback(req, res);
      return;
    }
    try {
      const id = new URL(req.url, issuer).searchParams.get('token');
      const request = await provider.BackchannelAuthenticationRequest.find(id);
      const grant = new provider.Grant({ accountId: request.accountId, clientId: CLIENT_ID });
      grant.addOIDCScope('openid');
      if (JWT) grant.addResourceScope('https://api.example.com', 'openid');
      await grant.save();
      await provider.backchannelResult(request, grant, { acr: undefined });
      res.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    } catch (err) {
      console.error(err);
      res.writeHead(500).end();
    }
  });
  console.log(issuer);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
