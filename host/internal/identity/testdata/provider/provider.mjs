// An OpenID provider on loopback. It prints its URL. POST /rotate replaces the key that
// signs and keeps the one before published; POST /withdraw drops all but the current one.
import { createServer } from 'node:http';
import { exportJWK, generateKeyPair } from 'jose';
import { Provider, errors } from 'oidc-provider';

const resources = ['https://here.example', 'https://elsewhere.example'];
let issuer, keys = [], current;

const key = async (kid) => {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  return { ...(await exportJWK(privateKey)), alg: 'ES256', use: 'sig', kid };
};

const provider = () => new Provider(issuer, {
  clients: [{
    client_id: 'nightly', client_secret: 'nightly-secret', grant_types: ['client_credentials'],
    redirect_uris: [], response_types: [], id_token_signed_response_alg: 'ES256',
  }],
  scopes: ['rooms:read', 'rooms:book'],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, resource) => {
        if (!resources.includes(resource)) throw new errors.InvalidTarget();
        return {
          scope: 'rooms:read rooms:book', audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: 3600,
          jwt: { sign: { alg: 'ES256' } },
        };
      },
    },
  },
  extraTokenClaims: () => ({ department: 'night', level: 3 }),
  jwks: { keys },
}).callback();

const server = createServer(async (req, res) => {
  if (req.method === 'POST' && (req.url === '/rotate' || req.url === '/withdraw')) {
    keys = req.url === '/rotate' ? [await key(`key-${keys.length + 1}`), ...keys] : keys.slice(0, 1);
    current = provider();
    res.end();
    return;
  }
  current(req, res);
});

server.listen(0, '127.0.0.1', async () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  keys = [await key('key-1')];
  current = provider();
  console.log(issuer);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
