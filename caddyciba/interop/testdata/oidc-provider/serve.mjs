// A provider made of oidc-provider. It reads its settings from standard input, as
// one line of JSON: clients, jwks. It listens on a free port, says its issuer on a
// line, and serves until its input ends.
//
// What the customer does stands in the binding message.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import Provider, { errors } from 'oidc-provider';

const lines = createInterface({ input: process.stdin });
const settings = JSON.parse(await new Promise((resolve) => { lines.once('line', resolve); }));
lines.once('close', () => process.exit(0));

const now = () => Math.floor(Date.now() / 1000);

// decide ends a request as its binding message says, a moment after it was made.
async function decide(provider, request, message) {
  if (message.startsWith('away')) return;
  if (message.startsWith('deny')) {
    await provider.backchannelResult(request, new errors.AccessDenied('the customer said no'));
    return;
  }
  const grant = new provider.Grant({ clientId: request.clientId, accountId: request.accountId });
  grant.addOIDCScope(request.scope);
  grant.addOIDCClaims(['auth_time', 'acr', 'amr']);
  await grant.save();
  await provider.backchannelResult(request, grant, {
    acr: message.startsWith('weak') ? 'pwd' : 'phr',
    amr: ['hwk'],
    authTime: message.startsWith('old') ? now() - 3600 : now(),
  });
}

const server = createServer();
await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: settings.clients,
  jwks: settings.jwks,
  acrValues: ['phr', 'pwd'],
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt'],
  enabledJWA: {
    idTokenSigningAlgValues: ['ES256', 'PS256'],
    requestObjectSigningAlgValues: ['ES256', 'PS256'],
    clientAuthSigningAlgValues: ['ES256', 'PS256', 'HS256'],
  },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  // By itself it does not call hosts of this machine.
  fetch: (url, options) => globalThis.fetch(url, { ...options, dispatcher: undefined }),
  features: {
    devInteractions: { enabled: false },
    claimsParameter: { enabled: true },
    requestObjects: { enabled: true },
    revocation: { enabled: true },
    dPoP: {
      enabled: true,
      nonceSecret: Buffer.alloc(32, 7),
      requireNonce: (ctx) => ctx.oidc.client?.clientId.startsWith('bound-') ?? false,
    },
    ciba: {
      enabled: true,
      deliveryModes: ['poll', 'ping'],
      processLoginHint: (ctx, hint) => (hint === 'nobody' ? undefined : hint),
      processLoginHintToken: () => undefined,
      validateBindingMessage: (ctx, message) => {
        if (!message) throw new errors.InvalidBindingMessage('a binding message is needed');
      },
      validateRequestContext: () => {},
      verifyUserCode: () => {},
      triggerAuthenticationDevice: (ctx, request) => {
        const message = ctx.oidc.params.binding_message;
        setTimeout(() => {
          decide(provider, request, message).catch((err) => console.error('deciding:', err));
        }, 500);
      },
    },
  },
});

provider.on('server_error', (ctx, err) => console.error(err));
for (const event of ['backchannel_authentication.error', 'grant.error']) {
  provider.on(event, (ctx, err) => console.error(event, err.error, err.error_description ?? '', err.error_detail ?? ''));
}
server.on('request', provider.callback());
console.log(issuer);
